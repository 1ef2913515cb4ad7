"""Every way to wait, over the deaths of two runners and over the loss of the snapshots."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import CancelSaga, SignalSaga
from sagahook_schemas.identity import child_id
from sagahook_schemas.topics import SAGA_STATE
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import Follower, assert_fold_is_snapshots, following, put_command


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    harness = RunnerHarness(
        kafka_bootstrap,
        topic_prefix,
        tmp_path,
        app="tests.apps.waits",
        settings={"STEP_SECONDS": "0.1", "REFUSE": str(tmp_path / "refuse")},
    )
    (tmp_path / "refuse").touch()
    yield harness
    await harness.stop()


BODIES: list[dict[str, Any]] = [
    {"kind": "sleeper", "id": "sleeper"},
    {"kind": "approval", "id": "approval"},
    {"kind": "approval", "id": "called-off"},
    {"kind": "order", "id": "good"},
    {"kind": "order", "id": "lost"},
    {"kind": "order", "id": "refused", "refuse": True},
    {"kind": "batch", "id": "batch", "items": 10},
    {"kind": "hurried", "id": "hurried"},
    {"kind": "branches", "id": "branches"},
    {"kind": "branches", "id": "broken", "refuse": True},
    {"kind": "retried", "id": "retried"},
]


async def begin(runners: RunnerHarness, log: Follower) -> dict[str, str]:
    """Every kind under way or waiting; the sagas' ids by those of their webhooks."""
    await runners.publish(BODIES, source="waits")
    await log.until_count("saga.started", len(BODIES) + 3)
    await log.until_count("step.awaiting", 2 + 3 + 1)
    return {body["id"]: log.started("id", body["id"]) for body in BODIES}


async def signal_all(runners: RunnerHarness, ids: dict[str, str]) -> None:
    async def tell(saga_id: str, signal: str, payload: str) -> None:
        # Twice, as a sender does that got no answer.
        told = SignalSaga(actor="ann", signal=signal, signal_id=f"{signal}-1", payload=payload)
        await put_command(runners, saga_id, told)
        await put_command(runners, saga_id, told)

    await tell(ids["approval"], "approved", "by ann")
    await put_command(runners, ids["called-off"], CancelSaga(actor="bob", reason="changed his mind"))
    for order, payload in (("good", "ok"), ("lost", "fail"), ("refused", "ok")):
        await tell(child_id(ids[order], 1, "shipping"), "go", payload)


def assert_each_came_out_right(log: Follower, ids: dict[str, str], effects: list[str]) -> None:
    ends = {key: story(log, saga_id)[-1] for key, saga_id in ids.items()}
    undone = {"called-off", "lost", "refused", "hurried", "broken"}
    assert ends == {key: f"saga.{'rolled_back' if key in undone else 'completed'}" for key in ids}
    results = {
        (e.envelope.saga_id, e.data["step"]): e.data.get("result")
        for e in log.events
        if e.kind == "step.completed"
    }
    assert results[ids["approval"], "act"] == "by ann"
    assert results[ids["batch"], "total"] == list(range(10))
    assert results[ids["good"], "thank"] == {"sent": "good"}
    assert_undone(log, ids)
    done = Counter(line.split(" ")[0] for line in effects if line.endswith("done"))
    for key, steps in {
        ids["sleeper"]: ["before/action", "afterwards/action"],
        ids["approval"]: ["act/action"],
        ids["called-off"]: [],
        ids["good"]: ["charge/action", "thank/action"],
        ids["lost"]: ["charge/action", "charge/compensation"],
        child_id(ids["good"], 1, "shipping"): ["pack/action", "send/action"],
        child_id(ids["lost"], 1, "shipping"): ["pack/action", "send/action", "pack/compensation"],
        child_id(ids["refused"], 1, "shipping"): [
            f"{step}/{phase}" for step in ("pack", "send") for phase in ("action", "compensation")
        ],
        ids["batch"]: [*(f"each[{number}]/action" for number in range(10)), "total/action"],
        ids["hurried"]: ["begin/action", "begin/compensation"],
        ids["retried"]: ["persist/action"],
        ids["branches"]: ["slow/action", "quick/action", "next_one/action", "both/action"],
    }.items():
        applied = {k.split("/", 2)[2] for k in done if k.startswith(key)}
        # An action that a crash cut off may have been applied: where it then fails for good it is undone too.
        assert applied - undone_unsure(log, key) == set(steps) - undone_unsure(log, key), key
    assert_repeated_only_where_lost(log, effects)
    log.assert_sound()


def undone_unsure(log: Follower, saga_id: str) -> set[str]:
    lost = {e.data["step"] for e in log.of(saga_id) if e.kind == "step.attempt_lost"}
    return {f"{step}/compensation" for step in lost}


def story(log: Follower, saga_id: str) -> list[str]:
    """Without what may be told behind its end: that a repeated signal came too late, that its parent let it go."""
    behind = ("saga.command_refused", "saga.released")
    return [event for event in log.story(saga_id) if event not in behind]


def assert_undone(log: Follower, ids: dict[str, str]) -> None:
    errors = {
        key: next(e.data["error"] for e in log.of(ids[key]) if e.kind == "saga.rolled_back")
        for key in ("called-off", "lost", "refused", "hurried", "broken")
    }
    assert errors["called-off"] == "Cancelled: by bob, changed his mind"
    assert "the parcel is lost" in errors["lost"]
    assert errors["hurried"].startswith("DeadlineExceeded")
    assert errors["refused"] == errors["broken"] == "PermanentError: told to refuse"
    child = story(log, child_id(ids["refused"], 1, "shipping"))
    assert "saga.completed" in child
    assert child[-1] == "saga.rolled_back"
    assert [s for s in child if s.startswith("step.completed")][-2:] == [
        "step.completed send",
        "step.completed pack",
    ]


def assert_repeated_only_where_lost(log: Follower, effects: list[str]) -> None:
    """An effect is repeated, under its own key, only where the log says that an attempt was lost."""
    lost = Counter(
        f"{e.envelope.saga_id}/{e.envelope.run}/{e.data['step']}/{e.data['phase']}"
        for e in log.events
        if e.kind == "step.attempt_lost"
    )
    done = Counter(line.split(" ")[0] for line in effects if line.endswith("done"))
    assert [key for key, times in done.items() if times > 1 + lost[key]] == []
    scheduled = Counter(
        e.data["idempotency_key"]
        for e in log.events
        if e.kind == "step.scheduled" and e.data["phase"] != "prepare"
    )
    assert done.keys() <= scheduled.keys()


async def test_what_waits_goes_on_where_it_was_when_its_runners_died(runners: RunnerHarness) -> None:
    first = await runners.start_runner(SLOW_SECONDS="30")
    async with following(runners) as log:
        ids = await begin(runners, log)
        first.kill()
        second = await runners.start_runner()
        await log.until_count("owner.acquired", 2 * PARTITIONS)
        await signal_all(runners, ids)
        await log.until_count("saga.signalled", 2)
        second.kill()
        await runners.start_runner()
        await runners.start_runner()
        await log.until_count("step.retry_scheduled")
        (runners.folder / "refuse").unlink()
        await log.until(lambda: all_ended(log, ids))
    assert_each_came_out_right(log, ids, runners.effects())


def all_ended(log: Follower, ids: dict[str, str]) -> bool:
    """Also the children, which their parents let go in the end."""
    children = [child_id(ids[key], 1, "shipping") for key in ("good", "lost", "refused")]
    ended = {e.envelope.saga_id for e in log.events if e.kind in ("saga.completed", "saga.rolled_back")}
    released = {e.envelope.saga_id for e in log.events if e.kind == "saga.released"}
    return ended >= set(ids.values()) and released >= set(children)


async def test_the_log_alone_tells_what_every_saga_waits_for(runners: RunnerHarness) -> None:
    first = await runners.start_runner(SLOW_SECONDS="30", WAIT_SECONDS="10")
    async with following(runners) as log:
        ids = await begin(runners, log)
        first.kill()
        await first.wait()
        assert await assert_fold_is_snapshots(runners) >= len(BODIES)
        await delete_snapshots(runners)
        second = await runners.start_runner(WAIT_SECONDS="10")
        await log.until_count("owner.acquired", 2 * PARTITIONS)
        await signal_all(runners, ids)
        (runners.folder / "refuse").unlink()
        await log.until(lambda: all_ended(log, ids))
        second.kill()
        await second.wait()
        await assert_fold_is_snapshots(runners)
    assert_each_came_out_right(log, ids, runners.effects())


async def delete_snapshots(runners: RunnerHarness) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=runners.bootstrap)
    await admin.start()
    await admin.delete_topics([SAGA_STATE.name(runners.prefix)])
    await admin.close()
    await asyncio.sleep(1)
    await ensure_topics(runners.bootstrap, runners.prefix, PARTITIONS)
