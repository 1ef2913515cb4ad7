"""The composition root of saga-runner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from sagahook.runtime.clock import Clock, SystemClock
from sagahook.runtime.erasable import data_keys
from sagahook.runtime.health import Health, Status, health_app
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger
from sagahook.runtime.metrics import watch_ready
from sagahook.runtime.partition_workers import GroupOffset, PartitionHost
from sagahook.runtime.partitions import PartitionedConsumer
from sagahook.runtime.topics import await_partition_count
from sagahook.runtime.transactions import TransactionalWriter
from sagahook.saga import SagaApp
from sagahook.saga.http import close_sessions
from sagahook_runner import metrics
from sagahook_runner.adapters.controls import controls_tail
from sagahook_runner.adapters.deploy import ensure_participant_topics, publish_definitions
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.late_outcomes import LateOutcomes
from sagahook_runner.adapters.reach import reach, written_by_owners
from sagahook_runner.adapters.triggers import Triggers
from sagahook_runner.domain.controls import Controls
from sagahook_runner.handlers.conductor import Conductors
from sagahook_runner.handlers.handing import Handing
from sagahook_runner.handlers.owner import PartitionOwner
from sagahook_runner.handlers.rekey import RepliesHost, replies_group
from sagahook_runner.handlers.reprocess import ReprocessorsHost
from sagahook_runner.handlers.router import PartitionRouter
from sagahook_runner.handlers.suspects import Suspects
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.topics import (
    SAGA_COMMANDS,
    SAGA_REPLIES,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
)

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

log = get_logger(__name__)


_FLUSH_SECONDS = 5.0
"""What is not told by then costs repeated attempts, once the next owners stop waiting for it."""


class OwnersHost:
    """Makes the partition owners of this process, around the executor that they share."""

    def __init__(
        self,
        settings: RunnerSettings,
        app: SagaApp,
        executor: Executor,
        conductors: Conductors,
        clock: Clock,
        partitions: int,
        controls: Controls,
        handing: Handing,
        keys: DataKeys | None,
    ) -> None:
        self._keys = keys
        self._handing = handing
        self._settings = settings
        self._app = app
        self._controls = controls
        self._executor = executor
        self._conductors = conductors
        self._clock = clock
        self._partitions = partitions
        self._process_id = new_event_id()
        self._suspects = Suspects()

    def worker(self, partition: int, offset: GroupOffset) -> PartitionOwner:
        return PartitionOwner(
            partition,
            settings=self._settings,
            app=self._app,
            executor=self._executor,
            conductors=self._conductors,
            writer=TransactionalWriter(
                self._settings.kafka,
                self._settings.owner_id(partition),
                reach=reach(
                    self._settings,
                    self._settings.owners_group,
                    written_by_owners(self._app.definitions()),
                    partition=partition,
                    partitions=self._partitions,
                ),
            ),
            offset=offset,
            clock=self._clock,
            process_id=self._process_id,
            partitions=self._partitions,
            suspects=self._suspects,
            controls=self._controls,
            handing=self._handing,
            keys=self._keys,
        )

    def moved(self, partition: int) -> None:
        self._conductors.drop(partition)
        self._executor.moved(partition)

    async def drain(self) -> None:
        await self._executor.drain()


class RoutersHost:
    """Makes the partition routers of this process."""

    def __init__(
        self,
        settings: RunnerSettings,
        triggers: Triggers,
        clock: Clock,
        partitions: int,
        handing: Handing,
        keys: DataKeys | None,
    ) -> None:
        self._keys = keys
        self._handing = handing
        self._settings = settings
        self._triggers = triggers
        self._clock = clock
        self._partitions = partitions

    def worker(self, partition: int, offset: GroupOffset) -> PartitionRouter:
        return PartitionRouter(
            partition,
            settings=self._settings,
            triggers=self._triggers,
            writer=TransactionalWriter(
                self._settings.kafka,
                self._settings.router_id(partition),
                reach=reach(
                    self._settings,
                    self._settings.router_group,
                    (WEBHOOKS_ROUTED, WEBHOOKS_RECEIVED.dead_letters),
                    partition=partition,
                    partitions=self._partitions,
                ),
            ),
            offset=offset,
            clock=self._clock,
            partitions=self._partitions,
            handing=self._handing,
            keys=self._keys,
        )

    def moved(self, partition: int) -> None:
        """A router leaves nothing behind."""

    async def drain(self) -> None:
        """A router's transaction is never long."""


class Runner:
    """saga-runner as one object: `run` until told to stop, `app` for its HTTP face."""

    def __init__(self, settings: RunnerSettings, app: SagaApp, clock: Clock | None = None) -> None:
        self._settings = settings
        self._sagas = app
        self._clock = clock or SystemClock()
        self.health = Health()
        watch_ready("saga-runner", self.health.is_ready)
        self.app = health_app(self.health)
        self._consumers: tuple[PartitionedConsumer, ...] = ()
        self.health.add("partitions", self._partitions_status)

    async def run(self, stopping: asyncio.Event) -> None:
        settings = self._settings
        partitions = await await_partition_count(settings.kafka, settings.topic_prefix, stopping)
        if partitions is None:
            return
        self.health.started = True
        metrics.PARTITIONS.set(partitions)
        definitions = self._sagas.definitions()
        await ensure_participant_topics(settings, definitions, partitions, stopping)
        await publish_definitions(settings, definitions, self._clock, stopping)
        late = LateOutcomes(settings, self._clock, partitions)
        executor = Executor(
            max_running=settings.max_running,
            threads=settings.threads,
            forward=late.forward,
            caps=settings.caps,
            drain=settings.drain,
        )
        conductors = Conductors(self._sagas, executor.say)
        metrics.ATTEMPTS_IN_FLIGHT.set_function(lambda: executor.load)
        controls, handing = Controls(), Handing()
        pauses = controls_tail(settings, partitions, controls)
        keys = data_keys(settings, partitions)
        triggers = Triggers(self._sagas, timeout=settings.route_timeout)
        owners = self._consumer(
            settings,
            settings.owners_group,
            SAGA_COMMANDS.name(settings.topic_prefix),
            OwnersHost(
                settings,
                self._sagas,
                executor,
                conductors,
                self._clock,
                partitions,
                controls,
                handing,
                keys,
            ),
        )
        routers = self._consumer(
            settings,
            settings.router_group,
            WEBHOOKS_RECEIVED.name(settings.topic_prefix),
            RoutersHost(settings, triggers, self._clock, partitions, handing, keys),
        )
        replies = self._consumer(
            settings,
            replies_group(settings),
            SAGA_REPLIES.name(settings.topic_prefix),
            RepliesHost(settings, self._clock, partitions),
        )
        reprocessing = self._consumer(
            settings,
            settings.reprocess_group,
            WEBHOOKS_COMMANDS.name(settings.topic_prefix),
            ReprocessorsHost(settings, triggers, self._clock, partitions, keys),
        )
        self._consumers = (owners, routers, replies, reprocessing)
        self.health.add("kafka", owners.check, needed=True)
        metrics.PARTITIONS_OWNED.set_function(lambda: len(owners.owned))
        known = [pauses.caught_up] if keys is None else [pauses.caught_up, keys.caught_up]
        forwarding = asyncio.create_task(late.run(), name="late-outcomes")
        try:
            await _all_or_none(
                stopping,
                lambda: _until(stopping, pauses.run()),
                lambda: _until(stopping, keys.run() if keys is not None else stopping.wait()),
                lambda: _once(known, stopping, lambda: owners.run(stopping, self._tick)),
                lambda: routers.run(stopping, self.health.tick),
                lambda: replies.run(stopping, self.health.tick),
                lambda: reprocessing.run(stopping, self.health.tick),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(late.flush(), _FLUSH_SECONDS)
        finally:
            self.health.ready = False
            await close_sessions()
            forwarding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await forwarding

    def _consumer(
        self, settings: RunnerSettings, group: str, topic: str, host: PartitionHost
    ) -> PartitionedConsumer:
        return PartitionedConsumer(
            bootstrap=settings.kafka,
            group=group,
            topic=topic,
            host=host,
            session_timeout=settings.session_timeout,
            heartbeat=settings.heartbeat,
        )

    def _tick(self) -> None:
        self.health.tick()
        self.health.ready = all(consumer.is_settled for consumer in self._consumers)

    async def _partitions_status(self) -> Status:
        return "healthy" if self.health.ready else "degraded"


async def _all_or_none(stopping: asyncio.Event, *parts: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the parts; when one ends, by itself or by failing, the others stop in order too."""

    async def run(part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await part()
        finally:
            stopping.set()

    results = await asyncio.gather(*(run(part) for part in parts), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _until(stopping: asyncio.Event, work: Coroutine[Any, Any, object]) -> None:
    """The work, cancelled when it is time to stop."""
    waits = {asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _once(
    ready: Iterable[asyncio.Event], stopping: asyncio.Event, part: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """The part, as soon as what it needs is there."""
    for each in ready:
        await _until(stopping, each.wait())
    if not stopping.is_set():
        await part()
