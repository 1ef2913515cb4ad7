"""The replica of ingest that is asked: a process of its own on a real log, in a hurry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from tests.hostile_case import BODY_LIMIT, Case
from tests.hostile_client import Answer, Exchange, connected, exchange
from tests.ingest_harness import PARTITIONS
from tests.ingest_process import IngestProcess, ingest_process
from tests.topics import open_topics

SECONDS = 2
"""What it allows for a head, a body, and between two requests."""

PROXY = "127.0.0.2"
"""Its one trusted proxy."""

SOURCES = {
    "orders": {"rate_limit": "none"},
    "limited": {"rate_limit": "2/h"},
    "forged": {"rate_limit": "2/h"},
    "proxied": {"rate_limit": "2/h"},
    "elsewhere": {"allowed_ips": ["192.0.2.0/24"]},
    "github": {"scheme": "github", "secrets": ["env:HOSTILE_SECRET"], "rate_limit": "none"},
}
SECRET = "s" * 32


class Replica:
    def __init__(self, process: IngestProcess, consumer: AIOKafkaConsumer, topic: str) -> None:
        self.port = process.port.number
        self._consumer = consumer
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    async def records(self) -> int:
        """How many `webhooks.received` holds."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return sum(ends.values())

    async def ask(self, case: Case, pause: float = 0.0) -> Exchange:
        return await exchange(
            self.port,
            case.sends,
            expected=len(case.answers),
            closes=case.closes,
            half_close=case.half_close,
            pause=pause,
        )

    async def send(self, request: bytes, *, by: str | None = None) -> Answer:
        """One request on a connection of its own. by: the address that it comes from."""
        async with connected(self.port, by) as connection:
            await connection.send(request)
            answer = await connection.answer()
            assert answer is not None
            return answer

    async def get(self, path: str) -> Answer:
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@asynccontextmanager
async def replica(bootstrap: str, log: Path) -> AsyncIterator[Replica]:
    """Fails at its end where anything raised what nobody caught."""
    environment = {
        "SAGAHOOK_SOURCES": json.dumps(SOURCES),
        "SAGAHOOK_BODY_LIMIT": str(BODY_LIMIT),
        "SAGAHOOK_HTTP_HEADER_SECONDS": str(SECONDS),
        "SAGAHOOK_HTTP_BODY_SECONDS": str(SECONDS),
        "SAGAHOOK_HTTP_IDLE_SECONDS": str(SECONDS),
        "SAGAHOOK_TRUSTED_PROXIES": PROXY,
        "HOSTILE_SECRET": SECRET,
    }
    async with (
        open_topics(bootstrap, PARTITIONS) as prefix,
        AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer,
        ingest_process(bootstrap, prefix, log, **environment) as process,
    ):
        yield Replica(process, consumer, WEBHOOKS_RECEIVED.name(prefix))
    said = await asyncio.to_thread(log.read_text)
    assert "Traceback" not in said
    assert SECRET not in said
