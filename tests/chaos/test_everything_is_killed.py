"""The whole stack under SIGKILL: what was answered 202 ends as it should, and every effect is applied once.

`CHAOS_WEBHOOKS` sets the size (2,000 is what the project is held to; the default fits a test run).
"""

import asyncio
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.embedded.stack import Stack
from sagahook_schemas.topics import SAGA_EVENTS
from tests.oracle import Logged, check_log
from tests.orders_world import orders_stack, shop
from tests.runner_harness import poll

WEBHOOKS = int(os.environ.get("CHAOS_WEBHOOKS", "240"))
RATE = float(os.environ.get("CHAOS_RATE", "40"))
KILLS = 2
VICTIMS = ("saga-runner", "tracker", "api")
SETTLED_SECONDS = 60
DECLINED_AMOUNT = 1_000_000


@dataclass
class Load:
    """What was accepted: the order and the state its status must end in, by correlation id."""

    api: str
    expected: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    async def send(self, session: aiohttp.ClientSession, number: int) -> None:
        """POST until it is answered 202, as a sender does."""
        declined = number % 10 == 9
        order = {
            "order_id": f"order-{number}",
            "amount": DECLINED_AMOUNT if declined else 10,
            "user_id": "u1",
        }
        while True:
            try:
                async with session.post(f"{self.api}/webhooks/order_created", json=order) as answer:
                    if answer.status == 202:
                        accepted = await answer.json()
                        self.expected[accepted["correlation_id"]] = "failed" if declined else "completed"
                        return
                    self.refused[str(answer.status)] += 1
            except aiohttp.ClientError as away:
                self.refused[type(away).__name__] += 1
            await asyncio.sleep(0.2)

    async def send_all(self, session: aiohttp.ClientSession) -> None:
        began = asyncio.get_running_loop().time()
        tasks = []
        for number in range(WEBHOOKS):
            await asyncio.sleep(max(0.0, began + number / RATE - asyncio.get_running_loop().time()))
            tasks.append(asyncio.create_task(self.send(session, number)))
        await asyncio.gather(*tasks)


async def test_every_accepted_webhook_ends_right_while_everything_is_killed(tmp_path: Path) -> None:
    async with shop(tmp_path) as shop_url, orders_stack(tmp_path, shop_url) as stack:
        api = stack.description()["api"]
        load = Load(api)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            killing = asyncio.create_task(_kill_everything(stack))
            await load.send_all(session)
            await killing
            wrong = await _settle(session, api, load.expected)
            assert wrong == {}, f"{len(wrong)} of {WEBHOOKS}: {dict(list(wrong.items())[:3])}"
            async with session.get(f"{shop_url}/ledger") as answer:
                ledger = await answer.json()
        log = await _saga_log(stack.description()["kafka"])
        assert check_log(log) == []
        applied = {entry["key"]: entry["applied"] for entry in ledger["entries"] if entry["applied"]}
        assert set(applied.values()) == {1}, "an effect was applied twice under one key"
        done_nothing = {entry["key"] for entry in ledger["entries"] if not entry["applied"]}
        assert _recorded_successes(log) - done_nothing <= applied.keys(), "a recorded success left no effect"
        assert applied.keys() <= _scheduled(log), "an effect without a committed step.scheduled"


async def _kill_everything(stack: Stack) -> None:
    """Each victim so many times, in a random order, at random moments."""
    dice = random.Random(20)
    order = [victim for victim in VICTIMS for _ in range(KILLS)]
    dice.shuffle(order)
    pause = WEBHOOKS / RATE / len(order)
    for victim in order:
        await asyncio.sleep(pause * dice.uniform(0.5, 1.2))
        for pid in stack.description()["pids"][victim]:
            os.kill(pid, signal.SIGKILL)


async def _settle(session: aiohttp.ClientSession, api: str, expected: dict[str, str]) -> dict[str, Any]:
    """The statuses that are not what they should be once the time is up."""
    open_ones = dict(expected)
    wrong: dict[str, Any] = {}
    deadline = asyncio.get_running_loop().time() + SETTLED_SECONDS
    while open_ones and asyncio.get_running_loop().time() < deadline:
        for correlation_id in list(open_ones):
            try:
                async with session.get(f"{api}/webhooks/order_created/status/{correlation_id}") as answer:
                    status = await answer.json()
            except aiohttp.ClientError:
                continue
            if status.get("final"):
                if status["status"] != open_ones[correlation_id]:
                    wrong[correlation_id] = status
                del open_ones[correlation_id]
            else:
                wrong.pop(correlation_id, None)
        await asyncio.sleep(0.2)
    return wrong | dict.fromkeys(open_ones, "not final")


async def _saga_log(bootstrap: str) -> list[Logged]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        partitions = [TopicPartition(SAGA_EVENTS.name("sagahook"), partition) for partition in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        log: list[Logged] = []
        while any([await consumer.position(at) < ends[at] for at in partitions]):
            log += [
                Logged(
                    event.envelope.saga_id,
                    event.envelope.run,
                    event.envelope.sequence,
                    event.envelope.type,
                    event.data,
                    event.envelope.time,
                    event.partition,
                    event.envelope.epoch,
                )
                for event in await poll(consumer)
            ]
        return log
    finally:
        await consumer.stop()


def _recorded_successes(log: list[Logged]) -> set[str]:
    return {_key(event) for event in log if event.kind == "step.completed"}


def _scheduled(log: list[Logged]) -> set[str]:
    return {_key(event) for event in log if event.kind == "step.scheduled"}


def _key(event: Logged) -> str:
    return f"{event.saga_id}/{event.run}/{event.data['step']}/{event.data['phase']}"
