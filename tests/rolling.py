"""A deployment with two replicas of each service, replaced one by one under load, and what became of everything.

As a Deployment of Kubernetes rolls out with `maxSurge: 1, maxUnavailable: 0`: a new replica, ready, before an old one
is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import aiohttp

from tests.balancer import Balancer, balancing
from tests.earlier import ROOT, path_of
from tests.oracle import Logged, check_log
from tests.rolling_load import SOURCE, Load, Receiver, receiving
from tests.runner_harness import PARTITIONS, RunnerHarness, poll
from tests.service_process import ServiceProcess, start_process

STOP_DELAY = 1.0
KINDS: tuple[tuple[str, ...], ...] = (
    ("sagahook_ingest",),
    ("sagahook_runner",),
    ("sagahook_tracker", "project"),
    ("sagahook_tracker", "api"),
    ("sagahook_notifier", "run"),
)
INGEST, API = KINDS[0], KINDS[3]
_PATIENCE = 180.0
_WITH_EFFECTS = ("one", "two")
"""Steps of `tests.apps.rolled`. Those of sagas beside it may only wait."""


@dataclass
class Rollout:
    """replicas: by kind, the old ones first."""

    folder: Path
    bootstrap: str
    prefix: str
    environment: dict[str, str]
    receiver: Receiver
    balancers: dict[tuple[str, ...], Balancer]
    replicas: dict[tuple[str, ...], list[ServiceProcess]] = field(default_factory=dict)
    exit_codes: Counter[int] = field(default_factory=Counter)

    async def say(self, *words: str, tree: Path = ROOT) -> str:
        """What `sagahook WORDS` of that version prints; fails where it refuses."""
        env = os.environ | self.environment | path_of(tree)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagahook.cli.main", *words),
            cwd=tree,
            env=env,
            stdout=PIPE,
            stderr=STDOUT,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, f"sagahook {' '.join(words)}: {printed.decode()}"
        return printed.decode()

    async def prepare(self, tree: Path = ROOT) -> None:
        """Topics and tables as that version needs them."""
        await self.say("topics", "apply", "--partitions", str(PARTITIONS), tree=tree)
        await self.say("migrate", tree=tree)

    def load(self, rate: float) -> Load:
        return Load(self.balancers[INGEST].url, self.balancers[API].url, rate)

    async def add(self, kind: tuple[str, ...], tree: Path = ROOT) -> None:
        """tree: where its version is; see `tests.preforked`."""
        replica = await start_process(self.folder, self.environment, *kind, tree=tree)
        self.replicas.setdefault(kind, []).append(replica)
        await replica.until("/readyz", 200)
        if balancer := self.balancers.get(kind):
            balancer.add(replica.url)

    async def replace(self, kind: tuple[str, ...], tree: Path = ROOT) -> None:
        """The oldest one by a new one."""
        await self.add(kind, tree)
        await self.end(kind)

    async def end(self, kind: tuple[str, ...]) -> None:
        """The oldest one."""
        old = self.replicas[kind].pop(0)
        self.exit_codes[await old.terminate()] += 1
        if balancer := self.balancers.get(kind):
            balancer.remove(old.url)

    async def log(self) -> list[Logged]:
        """The saga log as it is now."""
        events: list[Logged] = []
        async with RunnerHarness(self.bootstrap, self.prefix, self.folder).reader() as consumer:
            partitions = consumer.assignment()
            ends = await consumer.end_offsets(list(partitions))
            while any([await consumer.position(at) < ends[at] for at in partitions]):
                for event in await poll(consumer):
                    said = event.envelope
                    events.append(
                        Logged(
                            *(said.saga_id, said.run, said.sequence, said.type, event.data),
                            *(said.time, event.partition, said.epoch),
                        )
                    )
        return events

    def effects(self) -> Counter[tuple[str, str]]:
        """How often each was begun and done, by idempotency key; the second attempt of a step is one more."""
        lines = (self.folder / "effects").read_text().splitlines()
        return Counter((key, what) for key, _, what in (line.split() for line in lines))

    async def stop(self) -> None:
        """Everything that still runs."""
        for kind, replicas in self.replicas.items():
            while replicas:
                await self.end(kind)

    async def until_told(self, deliveries: int) -> None:
        """Fails where they do not come; more than these may have come by then."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while len(self.receiver.times) < deliveries:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(
                f"{len(self.receiver.times)} of {deliveries} webhooks were delivered"
            ) from None

    async def violations(self, load: Load, others: int = 0) -> dict[str, object]:
        """Everything that is not as if nobody had been replaced; nothing where all is well. The load has ended. others:
        sagas that began beside it."""
        wrong = await load.wrong()
        log = await self.log()
        await self.until_told(len({event.saga_id for event in log if event.saga_id}))
        effects = self.effects()
        kinds = Counter(event.kind for event in log)
        # What a runner that stops had not begun is begun by another, as the next attempt: nothing is repeated.
        lost = Counter(event.data["reason"] for event in log if event.kind == "step.attempt_lost")
        del lost["never_begun"]
        recorded = {
            f"{event.saga_id}/{event.run}/{event.data['step']}/{event.data['phase']}"
            for event in log
            if event.kind == "step.completed" and event.data["step"] in _WITH_EFFECTS
        }
        found: dict[str, object] = {
            "answers but 202": {what: count for what, count in load.answers.items() if what != "202"},
            "answers to questions but 200": {
                what: count for what, count in load.asked.items() if what != "200"
            },
            "statuses that are not right": dict(list(wrong.items())[:3]),
            "of the log": check_log(log),
            "attempts lost": dict(lost),
            "effects begun more than once": [
                key for (key, what), count in effects.items() if what == "began" and count > 1
            ],
            "effects begun and not done": [
                key for key, what in effects if what == "began" and (key, "done") not in effects
            ],
            "effects recorded and not done": [key for key in recorded if (key, "done") not in effects],
            "sagas more or less than webhooks": kinds["saga.started"]
            + kinds["saga.joined"]
            - len(load.accepted)
            - others,
            "webhooks delivered more than once": [
                each for each, count in self.receiver.times.items() if count > 1
            ],
            "webhooks delivered more or less than sagas": len(self.receiver.told) - kinds["saga.started"],
            "exit codes but 0": {code: count for code, count in self.exit_codes.items() if code},
        }
        return {what: each for what, each in found.items() if each}


@asynccontextmanager
async def rolled_out(
    folder: Path,
    bootstrap: str,
    prefix: str,
    database_url: str,
    *,
    replicas: int = 2,
    tree: Path = ROOT,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Rollout]:
    """So many replicas of each service, ready, on the topics and tables that their version needs. tree: where that is;
    see `tests.preforked`. settings: of all of them, beside what they need."""
    async with receiving() as receiver, AsyncExitStack() as opened:
        balancers = {kind: await opened.enter_async_context(balancing()) for kind in (INGEST, API)}
        environment = _environment(folder, bootstrap, prefix, database_url, receiver) | dict(settings)
        rollout = Rollout(folder, bootstrap, prefix, environment, receiver, balancers)
        await rollout.prepare(tree)
        try:
            await asyncio.gather(*(rollout.add(kind, tree) for kind in KINDS for _ in range(replicas)))
            await _until_wanted(balancers[INGEST].url)
            yield rollout
        finally:
            for replica in [each for several in rollout.replicas.values() for each in several]:
                await replica.kill()


async def _until_wanted(url: str) -> None:
    """Ingest knows a source when it has read that a saga is deployed that wants it."""
    async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession() as session:
        wanted = 0
        while wanted < 10:  # whichever replica is asked
            async with session.post(f"{url}/webhooks/{SOURCE}", headers={"Connection": "close"}) as answer:
                wanted = wanted + 1 if answer.status == 400 else 0
            await asyncio.sleep(0.02)


def _environment(
    folder: Path, bootstrap: str, prefix: str, database_url: str, receiver: Receiver
) -> dict[str, str]:
    endpoint = {
        "id": "receiver",
        "url": receiver.url,
        "event_types": ["task_completed", "task_failed"],
        "payload_format": "task",
        "secret": "whsec_bm9ib2R5IHdpbGwgZ3Vlc3MgdGhpcyBvbmU=",
    }
    return {
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_APP": "tests.apps.rolled",
        "SAGAHOOK_UNSIGNED_RATE_LIMIT": "none",
        "SAGAHOOK_OPEN_RATE_LIMIT": "none",
        "SAGAHOOK_STOP_DELAY": str(STOP_DELAY),
        "SAGAHOOK_ENDPOINTS": json.dumps([endpoint]),
        "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "true",
        "SAGAHOOK_SECRET_KEY": "of the tests, and long enough",
        "DATABASE_URL": database_url,
        "EFFECTS_FILE": str(folder / "effects"),
    }
