"""What the demo plays on: the stack with the orders example, the shop, and a receiver of outbound webhooks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.embedded.ports import free_port
from sagahook.embedded.process import Child, Command
from sagahook.embedded.stack import Stack, StackOptions
from sagahook.runtime.topics import partition_count
from sagahook.saga.brokers import client_options
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.topics import DEFAULT_PREFIX, SAGA_EVENTS

SOURCE = "order_created"
CHARGE_LIMIT = 1_000
_SESSION_SECONDS = "2.5"
"""After so long a killed runner's partitions go to the next one: less than usual, to keep the story short."""


@dataclass(frozen=True)
class Posted:
    """A webhook that was accepted. at: epoch seconds, when it was sent."""

    order: dict[str, Any]
    at: float
    taken: float
    correlation_id: str
    event_id: str


@dataclass(frozen=True)
class LogEvent:
    """One record of the saga log, as any reader of Kafka sees it."""

    envelope: Envelope
    data: Contract

    @property
    def kind(self) -> str:
        """`saga.started`, `step.completed`, …"""
        return self.envelope.type.removeprefix("sagahook.").rpartition(".")[0]


class SagaLog:
    """The saga log from the moment it is opened, followed as it grows."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer = AIOKafkaConsumer(
            **client_options(bootstrap), isolation_level="read_committed", fetch_max_wait_ms=20
        )
        self._events: list[LogEvent] = []
        self._grown = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[SagaLog]:
        count = await partition_count(self._bootstrap, DEFAULT_PREFIX)
        partitions = [TopicPartition(SAGA_EVENTS.name(DEFAULT_PREFIX), number) for number in range(count)]
        await self._consumer.start()
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end(*partitions)
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._consumer.stop()

    async def of(self, correlation_id: str) -> AsyncIterator[LogEvent]:
        """Every event under the correlation id, in the log's order, as they come."""
        told = 0
        while True:
            async with self._grown:
                while len(self._events) == told:
                    await self._grown.wait()
            event = self._events[told]
            told += 1
            if event.envelope.correlation_id == correlation_id:
                yield event

    async def _read(self) -> None:
        while True:
            polled = await self._consumer.getmany(timeout_ms=200)
            events = [
                LogEvent(*decode(record.headers, record.value))
                for records in polled.values()
                for record in records
            ]
            if events:
                async with self._grown:
                    self._events += events
                    self._grown.notify_all()


class DemoWorld:
    """The world as a sender of orders sees it, and as a person does who may also kill a process."""

    def __init__(
        self, stack: Stack, log: SagaLog, http: aiohttp.ClientSession, shop: str, receiver: str
    ) -> None:
        self.stack = stack
        self.log = log
        self._http = http
        self._shop = shop
        self._receiver = receiver

    @property
    def api(self) -> str:
        api: str = self.stack.description()["api"]
        return api

    async def post(self, order: dict[str, Any]) -> Posted:
        """Send `order_created`. Raises aiohttp.ClientResponseError where it is not accepted."""
        at, started = time.time(), time.perf_counter()
        async with self._http.post(f"{self.api}/webhooks/{SOURCE}", json=order) as response:
            taken = time.perf_counter() - started
            response.raise_for_status()
            answer = await response.json()
        return Posted(order, at, taken, answer["correlation_id"], answer["event_id"])

    async def status(self, posted: Posted) -> dict[str, Any]:
        """What became of the webhook, once that is final."""
        status: dict[str, Any] = await self._get(
            f"{self.api}/webhooks/{SOURCE}/status/{posted.correlation_id}?wait=30"
        )
        return status

    async def saga(self, saga_id: str) -> dict[str, Any]:
        saga: dict[str, Any] = await self._get(f"{self.api}/webhooks/status/{saga_id}")
        return saga

    async def ledger(self, posted: Posted) -> list[dict[str, Any]]:
        """What the shop was asked for the order: `{operation, applied, requests, status, …}` by key."""
        entries = (await self._get(f"{self._shop}/ledger"))["entries"]
        return [entry for entry in entries if entry["order_id"] == posted.order["order_id"]]

    async def received(self, saga_id: str, event_type: str) -> dict[str, Any]:
        """The outbound webhook of that type about the saga, once it has arrived, with `verified`."""
        while True:
            for webhook in await self._get(f"{self._receiver}/received"):
                event = webhook.get("event", {})
                if event.get("type") == event_type and event["data"]["task_id"] == saga_id:
                    found: dict[str, Any] = webhook
                    return found
            await asyncio.sleep(0.01)

    async def stall_shop(self, path: str, seconds: float) -> None:
        """From now on a request to the path waits so long in the shop before it is handled."""
        async with self._http.post(
            f"{self._shop}/control", json={"path": path, "stall": seconds}
        ) as response:
            response.raise_for_status()

    async def until_stalled(self, path: str) -> None:
        """Until a request to the path waits in the shop."""
        while True:
            if (await self._get(f"{self._shop}/control")).get(path):
                return
            await asyncio.sleep(0.01)

    def kill_runner(self) -> int:
        """SIGKILL, and the pid that got it."""
        pid: int = self.stack.description()["pids"]["saga-runner"][0]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def _get(self, url: str) -> Any:
        async with self._http.get(url) as response:
            response.raise_for_status()
            return await response.json()


@contextlib.asynccontextmanager
async def demo_world(folder: Path, say: Callable[[str], None]) -> AsyncIterator[DemoWorld]:
    """Start everything; in the end leave no process behind. `say` gets lines for people.

    Raises StackError where something does not start. All data and logs are under `folder`.
    """
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    shop, receiver = free_port(), free_port()
    endpoint = {"id": "demo", "url": f"http://127.0.0.1:{receiver}/hooks", "secret": secret}
    stack = Stack(
        StackOptions(
            data=folder / "stack",
            port=free_port(),
            env={
                "SHOP_URL": f"http://127.0.0.1:{shop}",
                "SAGAHOOK_ENDPOINTS": json.dumps([endpoint]),
                "SAGAHOOK_SESSION_TIMEOUT": _SESSION_SECONDS,
            },
        ),
        say=say,
    )
    urls = (f"http://127.0.0.1:{shop}", f"http://127.0.0.1:{receiver}")
    async with contextlib.AsyncExitStack() as running:
        http = await running.enter_async_context(aiohttp.ClientSession())
        children = {
            f"{urls[0]}/ledger": await _start(
                *("sagahook_orders.shop", "--port", str(shop)),
                *("--db", str(folder / "shop.db"), "--limit", str(CHARGE_LIMIT)),
                log=folder / "shop.log",
            ),
            f"{urls[1]}/received": await _start(
                *("sagahook_orders.receiver", "--port", str(receiver)),
                log=folder / "receiver.log",
                RECEIVER_SECRET=secret,
            ),
        }
        for child in children.values():
            running.push_async_callback(child.stop, 2)
        running.push_async_callback(stack.stop)
        await stack.start()
        for url, child in children.items():
            await child.until(partial(_answers, http, url), name=url, seconds=30)
        log = await running.enter_async_context(SagaLog(stack.description()["kafka"]).following())
        yield DemoWorld(stack, log, http, *urls)


async def _start(module: str, *arguments: str, log: Path, **environment: str) -> Child:
    return await Child.spawn(
        Command((sys.executable, "-m", module, *arguments), log, {**os.environ, **environment})
    )


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
