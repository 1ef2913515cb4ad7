"""Kafka and ingest under SIGKILL while senders send: no 202 without its record, nothing lost, no delivery twice.

Senders behave as real ones do: what was not answered well is sent again with the same id. Each delivery with an id
goes out on two connections at the same instant. `CHAOS_INGEST_KILLS` sets how often each victim is killed.
"""

import asyncio
import hashlib
import hmac
import json
import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import PARTITIONS, Log
from tests.ingest_process import IngestProcess, ingest_process

KILLS = int(os.environ.get("CHAOS_INGEST_KILLS", "2"))
SENDERS = 12
PREFIX = "killed"
SECRET = "It's a Secret to Everybody"
SETTLED_SECONDS = 120


@dataclass(frozen=True)
class Delivery:
    """accepted: the status of a first answer. duplicate: that of a repeated id; None where there is no id."""

    path: str
    body: bytes
    headers: dict[str, str]
    accepted: int
    duplicate: int | None

    @property
    def connections(self) -> int:
        return 1 if self.duplicate is None else 2


def without_id(body: bytes) -> Delivery:
    return Delivery("/webhooks/orders", body, {}, accepted=202, duplicate=None)


def with_idempotency_key(body: bytes) -> Delivery:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return Delivery("/webhooks/orders", body, headers, accepted=202, duplicate=202)


def from_github(body: bytes) -> Delivery:
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}",
    }
    return Delivery("/api/v1/webhooks/github", body, headers, accepted=200, duplicate=409)


KINDS = (without_id, with_idempotency_key, from_github)


@dataclass
class Senders:
    """Who send until told to stop, and then until all that they began is answered well."""

    base_url: str
    session: aiohttp.ClientSession
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    sent: dict[bytes, Delivery] = field(default_factory=dict)
    """What was begun, by its body, which no other has."""
    accepted: dict[str, bytes] = field(default_factory=dict)
    """The bodies that were answered as accepted, by the correlation id that the answer named."""
    not_accepted: Counter[str] = field(default_factory=Counter)
    """Statuses and lost connections after which a delivery was sent again, and the conflicts that ended one."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(SENDERS):
                tasks.create_task(self._send_on(number))

    async def _send_on(self, sender: int) -> None:
        count = 0
        while not self.stopping.is_set():
            body = json.dumps({"ref": f"refs/heads/{sender}/{count}"}).encode()
            delivery = self.sent[body] = KINDS[count % len(KINDS)](body)
            await asyncio.gather(*(self._deliver(delivery) for _ in range(delivery.connections)))
            count += 1
            await asyncio.sleep(0.02)

    async def _deliver(self, delivery: Delivery) -> None:
        while not await self._attempt(delivery):
            await asyncio.sleep(0.1)

    async def _attempt(self, delivery: Delivery) -> bool:
        """Whether it is answered for good. Any answer but a good one and 503 fails the test."""
        headers = {"Content-Type": "application/json", "X-Correlation-ID": str(uuid.uuid4())}
        try:
            async with self.session.post(
                self.base_url + delivery.path, data=delivery.body, headers=headers | delivery.headers
            ) as answer:
                told = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as lost:
            self.not_accepted[type(lost).__name__] += 1
            return False
        if answer.status == delivery.accepted:
            self.accepted[told["correlation_id"]] = delivery.body
            return True
        self.not_accepted[str(answer.status)] += 1
        if answer.status == delivery.duplicate:
            return True
        assert answer.status == 503, told
        assert int(answer.headers["Retry-After"]) > 0
        return False


@dataclass
class World:
    kafka: EmbeddedKafka
    ingest: IngestProcess

    async def kill_kafka(self) -> None:
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGKILL)
        await self.kafka.wait()
        await self.kafka.start()

    async def kill_ingest(self) -> None:
        self.ingest.send(signal.SIGKILL)
        await self.ingest.wait()
        await self.ingest.start()

    async def kill_both(self) -> None:
        """ingest while Kafka is away: nobody remembers what was under way."""
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGKILL)
        await self.kafka.wait()
        self.ingest.send(signal.SIGKILL)
        await self.ingest.wait()
        await asyncio.gather(self.kafka.start(), self.ingest.start())


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    (tmp_path / "secret").write_text(SECRET)
    sources = {
        "orders": {"rate_limit": "none"},
        "github": {"scheme": "github", "secrets": [f"file:{tmp_path / 'secret'}"]},
    }
    environment = {"SAGAHOOK_SOURCES": json.dumps(sources), "SAGAHOOK_PUBLISH_TIMEOUT": "1"}
    try:
        await kafka.start()
        await ensure_topics(kafka.bootstrap, PREFIX, PARTITIONS)
        async with ingest_process(kafka.bootstrap, PREFIX, tmp_path / "ingest.log", **environment) as ingest:
            yield World(kafka, ingest)
    finally:
        await kafka.stop()


@pytest.mark.parametrize(
    "victim", ["both", *(pytest.param(alone, marks=pytest.mark.long) for alone in ("kafka", "ingest"))]
)
async def test_every_answer_is_true_of_the_log_while_a_victim_is_killed_under_load(
    world: World, victim: str
) -> None:
    kill = {"kafka": world.kill_kafka, "ingest": world.kill_ingest, "both": world.kill_both}[victim]
    dice = random.Random(victim)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        senders = Senders(world.ingest.base_url, session)
        sending = asyncio.create_task(senders.run())
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            await kill()
        await asyncio.sleep(0.5)
        senders.stopping.set()
        async with asyncio.timeout(SETTLED_SECONDS):
            await sending
            await world.ingest.until_publishing(0)
    records = await Log(world.kafka.bootstrap, PREFIX).read()
    assert senders.not_accepted["503"] or victim == "ingest", "nobody met the outage"
    assert senders.not_accepted["409"], "no delivery id came twice"
    _every_acceptance_has_its_record(senders, records)
    _every_id_has_one_record(senders, records)


def _every_acceptance_has_its_record(senders: Senders, records: list[ConsumerRecord]) -> None:
    """Whether it was the first answer or that answer again."""
    held = Counter((Envelope.from_headers(record.headers).correlation_id, record.value) for record in records)
    wrong = {accepted: held[accepted] for accepted in senders.accepted.items() if held[accepted] != 1}
    assert wrong == {}, f"{len(wrong)} of {len(senders.accepted)} accepted webhooks are not in the log once"
    assert len({record.key for record in records}) == len(records), "two records share an event id"


def _every_id_has_one_record(senders: Senders, records: list[ConsumerRecord]) -> None:
    """So whoever was told of a duplicate was told the truth: every delivery ended, as accepted or as a duplicate."""
    held = Counter(record.value for record in records)
    assert held.keys() == senders.sent.keys(), "a delivery is not in the log, or something else is"
    twice = [body for body, count in held.items() if count > 1 and senders.sent[body].duplicate is not None]
    assert twice == []
