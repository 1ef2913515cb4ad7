"""A participant written with plain confluent-kafka, in a process of its own, while runners come and are killed."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_REPLIES
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import Follower, assert_fold_is_snapshots, following, whole_topic

SAGAS = 60
DOES = ("ok", "flaky", "refused", "stuck")
ENDS = {
    "ok": "saga.completed",
    "flaky": "saga.completed",
    "refused": "saga.rolled_back",
    "stuck": "saga.failed",
}


@dataclass
class Billing:
    """The other team's system."""

    runners: RunnerHarness
    process: asyncio.subprocess.Process | None = None

    @property
    def database(self) -> Path:
        return self.runners.folder / "billing.db"

    async def start(self) -> None:
        with (self.runners.folder / "billing.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.apps.plain_participant",
                env={
                    **os.environ,
                    "KAFKA": self.runners.bootstrap,
                    "PREFIX": self.runners.prefix,
                    "DATABASE": str(self.database),
                    "WORK_SECONDS": "0.03",
                },
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def effects(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.database) as database:
            return database.execute("SELECT key, what FROM effects").fetchall()


@pytest_asyncio.fixture
async def billing(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Billing]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    billing = Billing(RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.billed"))
    yield billing
    await billing.runners.stop()
    if billing.process is not None and billing.process.returncode is None:
        await billing.kill()
    await assert_fold_is_snapshots(billing.runners)


def bodies(first: int, last: int) -> list[dict[str, str]]:
    return [{"id": f"o-{n}", "does": DOES[n % len(DOES)]} for n in range(first, last)]


def expected_effects(saga_id: str, number: str, does: str) -> list[tuple[str, str]]:
    charged = (f"{saga_id}/1/charge/action", "action charge")
    match does:
        case "ok" | "flaky":
            return [charged, (f"{saga_id}/1/ship/action", "action ship")]
        case "refused":
            return [charged, (f"{saga_id}/1/charge/compensation", f"compensation charge charge-{number}")]
    return [charged]


def assert_ended_as_told(log: Follower) -> dict[str, dict[str, str]]:
    """The context of each saga, by its id."""
    contexts = {e.envelope.saga_id: e.data["context"] for e in log.events if e.kind == "saga.started"}
    for saga_id, context in contexts.items():
        does, story = context["does"], log.of(saga_id)
        assert story[-1].kind == ENDS[does], (does, log.story(saga_id))
        failed = [e.data["step"] for e in story if e.kind == "step.failed"]
        expected = {"ok": [], "flaky": ["charge", "ship"], "refused": ["ship"], "stuck": ["ship", "charge"]}
        assert failed == expected[does], log.story(saga_id)
        if does == "stuck":
            assert story[-1].data["unresolved"] == ["charge"]
    return contexts


@pytest.mark.long
async def test_a_participant_of_another_make_does_and_undoes_each_step_once_while_runners_come_and_go(
    billing: Billing,
) -> None:
    runners = billing.runners
    first = await runners.start_runner()
    await runners.start_runner()
    async with following(runners) as log:
        await runners.publish(bodies(0, 20), "billed")
        await log.until_count("saga.started", 20)
        await billing.start()
        await log.until_ended(3)
        await runners.start_runner()
        await runners.publish(bodies(20, 40), "billed")
        await log.until_ended(20)
        first.kill()
        await runners.publish(bodies(40, SAGAS), "billed")
        await log.until_ended(30)
        await billing.kill()
        await billing.start()
        await log.until_ended(SAGAS, seconds=120)
        log.assert_sound()
        contexts = assert_ended_as_told(log)
    expected = [
        effect
        for saga_id, told in contexts.items()
        for effect in expected_effects(saga_id, told["id"], told["does"])
    ]
    assert sorted(billing.effects()) == sorted(expected)
    async with whole_topic(runners, SAGA_REPLIES.name(runners.prefix)) as replies:
        strays = [r for r in replies if r.partition != partition_of(r.key.decode(), PARTITIONS)]
    assert strays, "the participant's partitioner was to differ from ours"
