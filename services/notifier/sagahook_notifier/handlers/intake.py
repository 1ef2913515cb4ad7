"""From the saga log to deliveries: load → plan → keep, with the offsets in the same transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from sagahook.runtime.batches import Batches
from sagahook.runtime.clock import Clock
from sagahook.runtime.dead_letters import DeadLetters
from sagahook.runtime.sources import Sources
from sagahook_notifier.adapters.intake_store import IntakeStore
from sagahook_notifier.domain.endpoints import Subscriber
from sagahook_notifier.domain.payloads import Limits
from sagahook_notifier.domain.plan import Event, Plan, plan, types_to_pass_over
from sagahook_notifier.handlers.dispatch import Dispatcher
from sagahook_notifier.metrics import PLANNED
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.envelope import InvalidEnvelope

_STOP_SECONDS = 2.0
"""That a stop waits for the database, to know whether it kept what it was about to."""


class Intake:
    def __init__(
        self,
        *,
        store: IntakeStore,
        sources: Sources,
        dead_letters: DeadLetters,
        clock: Clock,
        limits: Limits,
        dispatcher: Dispatcher,
    ) -> None:
        self._store = store
        self._sources = sources
        self._dead_letters = dead_letters
        self._clock = clock
        self._limits = limits
        self._dispatcher = dispatcher
        self.is_heard = True
        """Whether an endpoint listens, or a webhook may name one for itself; as of the last batch."""
        self._reckoned: tuple[Sequence[Subscriber], frozenset[bytes]] | None = None

    async def handle(self, batches: Batches) -> None:
        """Keeps what the batches ask for and their offsets, or nothing. Raises Unavailable or OffsetsMoved."""
        subscribers = await self._store.subscribers()
        passed_over = self._passed_over(subscribers)
        events = [
            event
            for batch in batches.values()
            for record in batch.records
            if dict(record.headers).get("ce_type") not in passed_over
            and (event := await self._read(record)) is not None
        ]
        known = await self._store.known({envelope.saga_id for envelope, _ in events}, subscribers)
        made = plan(events, known, self._sources, self._limits)
        self.is_heard = bool(
            subscribers
            or known.subscriptions
            or any(source.allow_notify_url for source in self._sources.values())
        )
        await self._keep(made, batches)
        PLANNED.inc(len(made.deliveries))

    def _passed_over(self, subscribers: Sequence[Subscriber]) -> frozenset[bytes]:
        """Reckoned once for what is the same object."""
        if self._reckoned is None or self._reckoned[0] is not subscribers:
            types = frozenset(ce_type.encode() for ce_type in types_to_pass_over(subscribers))
            self._reckoned = subscribers, types
        return self._reckoned[1]

    async def _keep(self, made: Plan, batches: Batches) -> None:
        """And hand over what was made to the dispatcher, which need not look for it."""
        counts = Counter(each.endpoint_id for each in made.deliveries)
        places = self._dispatcher.set_aside(counts)
        keeping = asyncio.create_task(self._store.keep(made, batches, self._clock.now(), places))
        try:
            await asyncio.shield(keeping)
        finally:
            # Where this is cancelled: what was made under the dispatcher's lease should not wait for that to run out.
            await asyncio.wait({keeping}, timeout=_STOP_SECONDS)
            kept = keeping.done() and not keeping.cancelled() and keeping.exception() is None
            self._dispatcher.hand_over(
                places, keeping.result() if kept else (), counts if kept else Counter()
            )

    async def _read(self, record: ConsumerRecord) -> Event | None:
        """None: the record concerns no saga, or it cannot be read and lies in the dead letters."""
        try:
            envelope, event = decode(record.headers, record.value)
        except (InvalidEnvelope, Undecodable) as unreadable:
            await self._dead_letters.put(record, str(unreadable))
            return None
        return (envelope, event) if envelope.saga_id else None
