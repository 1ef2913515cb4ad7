"""Brings the outcomes of attempts that ran here to the sagas' present owners, as commands."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from itertools import islice

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings
from sagahook.saga.brokers import client_options
from sagahook_runner.adapters.attempt import Outcome
from sagahook_runner.adapters.outcomes import complete_step, complete_step_headers
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_COMMANDS

log = get_logger(__name__)

_RETRY_SECONDS = 0.2
_STOP_SECONDS = 1.0

_TOGETHER = 500
"""Outcomes that are under way at once. A runner that stops has those of a second of its work, and little time."""


class LateOutcomes:
    """A queue in front of one idempotent producer.

    An outcome that never arrives costs a repeated attempt under the same idempotency key, not the saga.
    """

    def __init__(self, settings: ServiceSettings, clock: Clock, partitions: int) -> None:
        self._settings = settings
        self._clock = clock
        self._partitions = partitions
        self._waiting: deque[Outcome] = deque()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def forward(self, outcome: Outcome) -> None:
        self._waiting.append(outcome)
        self._arrived.set()
        self._empty.clear()

    async def run(self) -> None:
        """Send until cancelled, whatever happens to the broker."""
        while True:
            await self._arrived.wait()
            try:
                await self._send_all()
            except (KafkaError, OSError) as away:
                log.warning("late_outcomes.waiting", count=len(self._waiting), error=str(away))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _send_all(self) -> None:
        """Send what waits and what comes; returns never, raises where the broker is away."""
        producer = AIOKafkaProducer(
            **client_options(self._settings.kafka), enable_idempotence=True, acks="all", retry_backoff_ms=20
        )
        try:
            await producer.start()
            while True:
                await self._arrived.wait()
                while self._waiting:
                    together = list(islice(self._waiting, _TOGETHER))
                    await self._send(producer, together)
                    for _ in together:
                        self._waiting.popleft()
                self._arrived.clear()
                self._empty.set()
        finally:
            with contextlib.suppress(TimeoutError):
                # Stopping flushes, which takes for ever while the broker is away.
                await asyncio.wait_for(producer.stop(), _STOP_SECONDS)

    async def flush(self) -> None:
        """Wait until nothing is left to send."""
        await self._empty.wait()

    async def _send(self, producer: AIOKafkaProducer, outcomes: Sequence[Outcome]) -> None:
        """All of them, or it raises; what was sent then is sent again, and is a duplicate."""
        sent = []
        for outcome in outcomes:
            command = complete_step(outcome.command)
            if command is None:
                continue
            sending = await producer.send(
                self._settings.topic(SAGA_COMMANDS),
                key=outcome.saga_id.encode(),
                value=command.to_json(),
                headers=complete_step_headers(outcome.saga_id, self._clock.now(), command).to_headers(),
                partition=partition_of(outcome.saga_id, self._partitions),
            )
            sent.append((sending, outcome.saga_id, command.step))
        await asyncio.gather(*(sending for sending, _, _ in sent))
        for _, saga_id, step in sent:
            log.info("late_outcome.forwarded", saga_id=saga_id, step=step)
