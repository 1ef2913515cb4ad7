"""The notifier right after any crash: of itself, of its neighbour, of Kafka and of PostgreSQL."""

import asyncio
import signal
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.migrations import migrate_all
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.database import open_pool
from sagahook_notifier.adapters.announcer import Announcer
from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.http_client import Timeouts
from sagahook_notifier.adapters.outbox_store import OutboxStore
from sagahook_notifier.adapters.sender import open_sender
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.dispatch import Dispatcher, Limits
from sagahook_notifier.handlers.outbox import Outbox
from sagahook_notifier.wiring import Notifier
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliverySucceeded
from tests.notifier_harness import (
    COMPLETED,
    SECRET,
    Deployment,
    Receiver,
    deploy,
    started,
)
from tests.processes import halt

SHORT_LEASE: dict[str, Any] = {"notify_lease": 1.0, "notify_timeout": 0.9, "session_timeout": 2.0}


def hook(receiver: Receiver, **options: Any) -> dict[str, Any]:
    return {
        "id": "hook",
        "url": f"{receiver.url}/hook",
        "secret": SECRET,
        "event_types": ["task_started"],
        "retry_policy": [0.05],
    } | options


class Gate:
    """An answer that waits to be let through."""

    def __init__(self, status: int = 200) -> None:
        self.opened = asyncio.Event()
        self._status = status

    async def __call__(self, _: web.Request) -> web.Response:
        await self.opened.wait()
        return web.Response(status=self._status)


async def until_status(notifier: Notifier, status: str) -> None:
    async with asyncio.timeout(15):
        while (await notifier.health.report())["status"] != status:
            await asyncio.sleep(0.02)


async def test_after_a_sigkill_in_the_middle_of_an_attempt_the_same_delivery_goes_out_after_the_lease(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("/hook", Gate(), 204)
    async with deployment.process(tmp_path, hook(receiver), **SHORT_LEASE) as process:
        await deployment.log.write("s-1", started("s-1"))
        await receiver.wait_for(1)
        process.kill()
        await process.wait()

    assert [delivery["status"] for delivery in await deployment.deliveries()] == ["pending"]
    async with deployment.running(hook(receiver), **SHORT_LEASE):
        first, second = await receiver.wait_for(2)
        await deployment.wait_until_finished(1)

    assert first.delivery_id == second.delivery_id
    assert first.body == second.body
    (attempt,) = await deployment.attempts(first.delivery_id)
    assert (attempt["attempt"], attempt["status_code"]) == (1, 204)


async def test_a_dispatcher_that_stalled_past_its_lease_records_nothing(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    gate = Gate(status=500)
    receiver.answer("/hook", gate, 204)
    patient = SHORT_LEASE | {"notify_timeout": 0.95}
    async with deployment.process(tmp_path, hook(receiver), **patient) as stalled:
        await deployment.log.write("s-1", started("s-1"))
        await receiver.wait_for(1)
        halt(stalled.pid)
        async with deployment.running(hook(receiver), **SHORT_LEASE):
            first, second = await receiver.wait_for(2)
            await deployment.wait_until_finished(1)
            gate.opened.set()
            stalled.send_signal(signal.SIGCONT)
            log = tmp_path / "notifier.log"
            async with asyncio.timeout(10):
                while "delivery.lease_lost" not in log.read_text():
                    await asyncio.sleep(0.02)

    (delivery,) = await deployment.deliveries()
    assert first.delivery_id == second.delivery_id == delivery["id"]
    assert delivery["status"] == "succeeded"
    assert [attempt["status_code"] for attempt in await deployment.attempts(delivery["id"])] == [204]


async def test_two_dispatchers_share_the_work_and_send_nothing_twice(
    deployment: Deployment, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer("/hook", gate, 204)
    one_at_a_time: dict[str, Any] = {"notify_concurrency": 1}
    async with (
        deployment.running(hook(receiver), **one_at_a_time),
        deployment.running(hook(receiver), **one_at_a_time),
    ):
        for number in range(20):
            await deployment.log.write(f"s-{number}", started(f"s-{number}"))
        # One of them hangs on its first delivery, so that all the others were sent by the second.
        await receiver.wait_for(20)
        gate.opened.set()
        await deployment.wait_until_finished(20)

    assert set(Counter(arrival.delivery_id for arrival in receiver.arrivals).values()) == {1}


async def test_a_stop_gives_back_at_once_what_it_could_not_finish(
    deployment: Deployment, receiver: Receiver
) -> None:
    receiver.answer("/hook", Gate(), 204)
    async with deployment.running(hook(receiver), notify_drain=0.1):
        await deployment.log.write("s-1", started("s-1"))
        await receiver.wait_for(1)

    async with deployment.running(hook(receiver)):  # whose lease would be far longer than this test
        first, second = await receiver.wait_for(2)
        await deployment.wait_until_finished(1)

    assert first.delivery_id == second.delivery_id


async def test_a_stop_lets_attempts_under_way_end(deployment: Deployment, receiver: Receiver) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response()

    receiver.answer("/hook", slow)
    async with deployment.running(hook(receiver)):
        await deployment.log.write("s-1", started("s-1"))
        await receiver.wait_for(1)

    assert [delivery["status"] for delivery in await deployment.deliveries()] == ["succeeded"]
    assert len(receiver.arrivals) == 1


async def test_a_stop_is_heard_even_where_work_arrives_at_the_same_moment(deployment: Deployment) -> None:
    database = Dependency("PostgreSQL")
    outbox = Outbox(
        store=OutboxStore(deployment.pool),
        announcer=Announcer("unused", "unused"),
        database=database,
        kafka=Dependency("Kafka"),
    )
    async with open_sender(
        sources={}, clock=SystemClock(), timeouts=Timeouts(1, 1, 1), reach=Reach()
    ) as sender:
        dispatcher = Dispatcher(
            store=DispatchStore(deployment.pool, Targets(Vault(["a key that no secret is sealed by"]))),
            sender=sender,
            clock=SystemClock(),
            dice=lambda: 0.5,
            limits=Limits(
                lease=timedelta(seconds=2), concurrency=1, per_endpoint=1, drain=timedelta(seconds=1)
            ),
            database=database,
            on_recorded=outbox.wake,
        )
        for part, wake in ((dispatcher, partial(dispatcher.wake, ["hook"])), (outbox, outbox.wake)):
            task = asyncio.create_task(part.run(asyncio.Event()))
            await asyncio.sleep(0.2)  # it rests by now
            wake()
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            assert task.cancelled()


async def test_one_process_publishes_at_a_time_and_the_next_one_when_it_no_longer_does(
    deployment: Deployment,
) -> None:
    settings = deployment.settings()
    async with (
        await open_pool(settings, clean_up=False) as mine,
        await open_pool(settings, clean_up=False) as yours,
    ):
        async with OutboxStore(mine).publishing() as queue, OutboxStore(yours).publishing() as other:
            assert (queue is not None, other) == (True, None)
        async with OutboxStore(yours).publishing() as other, OutboxStore(mine).publishing() as queue:
            assert (other is not None, queue) == (True, None)


async def test_while_postgres_is_away_everything_waits_and_then_goes_on_without_a_restart(
    kafka_bootstrap: str, topic_prefix: str, receiver: Receiver, tmp_path: Path
) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await migrate_all(postgres.url)
    gate = Gate()
    receiver.answer("/hook", gate, 204)
    try:
        async with (
            deploy(kafka_bootstrap, topic_prefix, postgres.url) as deployment,
            deployment.running(hook(receiver)) as notifier,
        ):
            await deployment.log.write("s-1", started("s-1"))
            await receiver.wait_for(1)
            await postgres.stop()
            gate.opened.set()  # an outcome that cannot be recorded yet
            await deployment.log.write("s-2", started("s-2"))
            await until_status(notifier, "degraded")
            await postgres.start()
            await receiver.wait_for(2)
            await deployment.wait_until_finished(2)
            await until_status(notifier, "healthy")
    finally:
        await postgres.stop()

    assert len(receiver.arrivals) == 2


async def test_while_kafka_is_away_deliveries_go_on_and_the_outbox_waits(
    topic_prefix: str, database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    kafka = EmbeddedKafka(tmp_path, await prepare_kafka())
    await kafka.start()
    receiver.answer("/hook", 500, 204)
    try:
        async with (
            deploy(kafka.bootstrap, topic_prefix, database_url) as deployment,
            deployment.running(hook(receiver, retry_policy=[1.5])),
        ):
            await deployment.log.write("s-1", started("s-1"))
            await receiver.wait_for(1)
            assert isinstance((await deployment.announced(1))[0][1], DeliveryAttemptFailed)
            await kafka.stop()
            await deployment.wait_until_finished(1)
            assert await deployment.pool.fetchval("SELECT count(*) FROM notifier.outbox") == 1
            await kafka.start()
            assert isinstance((await deployment.announced(2))[1][1], DeliverySucceeded)
            await deployment.log.write("s-2", started("s-2"), COMPLETED)
            await receiver.wait_for(3)
    finally:
        await kafka.stop()


async def test_a_database_that_is_not_migrated_is_waited_for(
    kafka_bootstrap: str, topic_prefix: str, empty_database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    log = tmp_path / "notifier.log"
    async with (
        deploy(kafka_bootstrap, topic_prefix, empty_database_url) as deployment,
        deployment.process(tmp_path, hook(receiver)) as process,
    ):
        async with asyncio.timeout(60):
            while not log.exists() or "run `sagahook migrate`" not in log.read_text():
                await asyncio.sleep(0.05)
        assert process.returncode is None
