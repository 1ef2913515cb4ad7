"""A deployment with all of its services, which moves to other topics; see tests/apps/moved.py."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import TopicPartition
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import TransactionalWriter
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.commands import SignalSaga
from sagahook_schemas.sagas import OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import SAGA_COMMANDS
from tests.notifier_harness import SECRET, Receiver, open_receiver
from tests.runner_harness import RunnerHarness, open_runners
from tests.runner_log import Follower, put_command
from tests.service_process import ServiceProcess, start_process

KEY = "an operator's key"
SERVICES = {
    "ingest": ("sagahook_ingest",),
    "runner": ("sagahook_runner",),
    "projector": ("sagahook_tracker", "project"),
    "api": ("sagahook_tracker", "api"),
    "notifier": ("sagahook_notifier", "run"),
}


@asynccontextmanager
async def moved_runners(kafka: str, prefix: str, folder: Path, *, nap: str) -> AsyncIterator[RunnerHarness]:
    """In one partition, and its participant refuses as long as there is a file `refuse`. nap: seconds."""
    refuse = folder / "refuse"
    refuse.touch()
    settings = {"REFUSE": str(refuse), "NAP_SECONDS": nap}
    async with open_runners(
        kafka, prefix, folder, app="tests.apps.moved", settings=settings, partitions=1
    ) as opened:
        yield opened


async def sagahook(*words: str, **environment: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)


@dataclass
class Deployment:
    """What all services of it are told, and those that run. log: of the generation that is in use."""

    folder: Path
    database_url: str
    receiver: Receiver
    http: aiohttp.ClientSession
    log: RunnerHarness
    services: dict[str, ServiceProcess] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        endpoint = {
            "id": "receiver",
            "url": f"{self.receiver.url}/hook",
            "event_types": ["task_completed"],
            "payload_format": "task",
            "secret": SECRET,
        }
        return {
            "SAGAHOOK_KAFKA": self.log.bootstrap,
            "SAGAHOOK_TOPIC_PREFIX": self.log.prefix,
            "DATABASE_URL": self.database_url,
            "SAGAHOOK_APP": "tests.apps.moved",
            "SAGAHOOK_ENDPOINTS": json.dumps([endpoint]),
            "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "true",
            "SAGAHOOK_SECRET_KEY": "of the tests, and long enough",
            "SAGAHOOK_API_KEYS": json.dumps({"operator": hashlib.sha256(KEY.encode()).hexdigest()}),
            "SAGAHOOK_UNSIGNED_RATE_LIMIT": "none",
            "SAGAHOOK_OPEN_RATE_LIMIT": "none",
            "EFFECTS_FILE": str(self.log.effects_file),
            "REFUSE": str(self.refuse),
        }

    @property
    def refuse(self) -> Path:
        return self.folder / "refuse"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them, ready; whoever was not stopped is killed at the end."""
        try:
            for name, words in SERVICES.items():
                self.services[name] = await start_process(self.folder, self.environment, *words)
            await asyncio.gather(*(each.until("/readyz", 200) for each in self.services.values()))
            yield
        finally:
            for each in self.services.values():
                await each.kill()

    async def stop(self, *names: str) -> None:
        for name in names:
            assert await self.services[name].terminate() == 0, self.services[name].log.read_text()[-3000:]

    async def post(self, kind: str, id: str, **headers: str) -> dict[str, Any]:
        """Until ingest knows the source, which it reads in the log."""
        async with asyncio.timeout(60):
            while True:
                async with self.http.post(
                    f"{self.services['ingest'].url}/webhooks/moved",
                    json={"kind": kind, "id": id},
                    headers=headers,
                ) as answer:
                    if answer.status != 404:
                        assert answer.status == 202, await answer.text()
                        return dict(await answer.json())
                await asyncio.sleep(0.05)

    async def status(
        self, correlation_id: str, wanted: Callable[[dict[str, Any]], bool] = lambda told: told["final"]
    ) -> dict[str, Any]:
        url = f"{self.services['api'].url}/webhooks/moved/status/{correlation_id}?wait=5"
        told: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while not told or not wanted(told):
                async with self.http.get(url) as answer:
                    told = dict(await answer.json()) if answer.status == 200 else {}
        return told

    async def ask_to_reprocess(self, event_id: str) -> None:
        url = f"{self.services['api'].url}/api/v1/webhooks/events/{event_id}/reprocess"
        body = {"actor": "ann", "reason": "to see it again"}
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.http.post(url, json=body, headers=headers) as answer:
            assert answer.status in (200, 202), await answer.text()

    async def answer(self, saga_id: str) -> None:
        await put_answer(self.log, saga_id)


@asynccontextmanager
async def deployed(bootstrap: str, prefix: str, database_url: str, folder: Path) -> AsyncIterator[Deployment]:
    await ensure_topics(bootstrap, prefix, 2)
    async with open_receiver() as receiver, aiohttp.ClientSession() as http:
        log = RunnerHarness(bootstrap, prefix, folder, partitions=2)
        deployment = Deployment(folder, database_url, receiver, http, log)
        deployment.refuse.touch()
        yield deployment


async def put_answer(runners: RunnerHarness, saga_id: str) -> None:
    await put_command(runners, saga_id, SignalSaga(actor="ann", signal="answer", signal_id="1"))


BEGUN = (
    ("plain", "plain"),
    ("ask", "done"),
    ("ask", "late"),
    ("ask", "asked"),
    ("nap", "nap"),
    ("try", "try"),
    ("whole", "whole"),
)


async def begin(deployment: Deployment, log: Follower) -> dict[str, dict[str, Any]]:
    """Sagas that stand in every way; the answers to their webhooks, by their ids."""
    accepted = {id: await deployment.post(kind, id, **{"Idempotency-Key": id}) for kind, id in BEGUN}
    accepted["first"] = await deployment.post("limited", "first")
    await log.until_count("saga.started", 8 + 1)
    accepted["second"] = await deployment.post("limited", "second")
    await log.until_count("saga.started", 9 + 1)
    await log.until_count("step.awaiting", 3 + 1 + 1)
    await log.until_count("step.sleeping")
    await log.until_count("step.failed")
    await deployment.answer(log.started("id", "done"))
    await log.until_count("saga.completed", 2)
    await deployment.receiver.wait_for(2)
    return accepted


async def put_owner(runners: RunnerHarness, event: OwnerAcquired | OwnerReleased) -> None:
    """As one that has forgotten runs up to the fourth, and taken no command."""
    settings = RunnerSettings(kafka=runners.bootstrap, app="none", topic_prefix=runners.prefix)
    left = OwnerRecord(event.epoch, "runner-0", isinstance(event, OwnerReleased), first_run=5)
    records = EventRecords(settings, 0, Stamp(datetime.now(UTC), event.epoch)).owner(event, left.to_json())
    writer = TransactionalWriter(runners.bootstrap, settings.owner_id(0))
    await writer.start()
    commands = TopicPartition(SAGA_COMMANDS.name(runners.prefix), 0)
    await writer.commit(records, {commands: 0}, settings.owners_group)
    await writer.abandon()
