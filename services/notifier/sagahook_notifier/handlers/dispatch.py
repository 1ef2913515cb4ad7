"""Sending what is due: claim → send → decide → record.

Whoever claims a delivery holds it under a lease. A dispatcher that dies leaves its deliveries to the others when
the lease is over, under the same ids; one that only stalled finds that it can no longer record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook_notifier.adapters.sender import Sender
from sagahook_notifier.adapters.store import Store
from sagahook_notifier.domain.deliveries import Claimed, Finished
from sagahook_notifier.domain.policies import Exhausted, RetryAt, Succeeded, decide_outcome
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.metrics import ATTEMPT_SECONDS, ATTEMPTS, DELIVERIES, SENDING

log = get_logger(__name__)

_LONGEST_REST = timedelta(seconds=1)
"""Between two looks at the queue while nothing is known to be due: what others made or left behind."""
_SHORTEST_REST = timedelta(milliseconds=10)
"""Where something is due but another dispatcher is about to take it."""

_GATHER_SECONDS = 0.003
_RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one dispatcher. lease: how long a claim holds; longer than an attempt may take. concurrency: attempts
    under way at once, in all and to one endpoint. drain: how long a stop waits for those under way."""

    lease: timedelta
    concurrency: int
    per_endpoint: int
    drain: timedelta


class Dispatcher:
    """dice: draws from [0, 1), for the jitter of retries. on_recorded: called once outcomes are stored."""

    def __init__(
        self,
        *,
        store: Store,
        sender: Sender,
        clock: Clock,
        dice: Callable[[], float],
        limits: Limits,
        database: Dependency,
        on_recorded: Callable[[], None],
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._dice = dice
        self._limits = limits
        self._database = database
        self._on_recorded = on_recorded
        self._recorder = Recorder(store, database)
        self._look = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Claimed] = {}
        self._sending: Counter[str] = Counter()

    def wake(self) -> None:
        """Something may be due."""
        self._look.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set and it is cancelled, to end a wait: attempts under way may then end within the
        drain time, and leases are given back. (The event too, because in Python 3.11 a library's `wait_for` may
        swallow the cancellation.)"""
        try:
            while not stopping.is_set():
                self._look.clear()
                await self._claim()
                self._raise_faults()
                await self._rest()
        finally:
            await self._drain()

    async def _claim(self) -> None:
        free = self._limits.concurrency - len(self._under_way)
        if free == 0:
            return
        claimed = await self._database.reach(
            lambda: self._store.claim(
                token=uuid4(),
                now=self._clock.now(),
                lease=self._limits.lease,
                sending=self._sending,
                per_endpoint=self._limits.per_endpoint,
                free=free,
            )
        )
        for each in claimed:
            task = asyncio.create_task(self._deliver(each), name=f"delivery {each.delivery_id}")
            self._under_way[task] = each
            self._sending[each.endpoint_id] += 1
            task.add_done_callback(self._ended)
        SENDING.set(len(self._under_way))

    async def _rest(self) -> None:
        """Until something is due, or room is made for what is."""
        rest = _LONGEST_REST
        if len(self._under_way) < self._limits.concurrency:
            full = [endpoint for endpoint, sending in self._sending.items() if self._is_full(sending)]
            due = await self._database.reach(lambda: self._store.next_due(full))
            if due is not None:
                rest = min(rest, max(due - self._clock.now(), _SHORTEST_REST))
        with suppress(TimeoutError):
            async with asyncio.timeout(rest.total_seconds()):
                await self._look.wait()

    async def _deliver(self, claimed: Claimed) -> None:
        exchange = await self._sender.send(claimed)
        now = self._clock.now()
        outcome = decide_outcome(
            claimed.policy, claimed.attempt - claimed.attempts_before, exchange.said, now, self._dice()
        )
        finished = Finished(claimed, exchange, outcome, now)
        if await self._recorder.record(finished):
            _tell(finished)
            self._on_recorded()
            if isinstance(outcome, RetryAt):
                self.wake()  # it may be due before the current rest is over
        else:
            log.warning("delivery.lease_lost", delivery=claimed.delivery_id, attempt=claimed.attempt)

    def _ended(self, task: asyncio.Task[None]) -> None:
        endpoint = self._under_way[task].endpoint_id
        if self._is_full(self._sending[endpoint]) or len(self._under_way) == self._limits.concurrency:
            # What waited for this place can be claimed; with what waits for those that end in a moment.
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.wake)
        self._sending[endpoint] -= 1
        if not self._sending[endpoint]:
            del self._sending[endpoint]
        if task.cancelled() or task.exception() is None:
            del self._under_way[task]
        else:
            self.wake()  # to raise the fault
        SENDING.set(len(self._under_way))

    def _is_full(self, sending: int) -> bool:
        return sending >= self._limits.per_endpoint

    def _raise_faults(self) -> None:
        """A delivery fails by an outcome; an exception is a fault of ours, and ends the process."""
        for task in self._under_way:
            if task.done():
                task.result()

    async def _drain(self) -> None:
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=self._limits.drain.total_seconds())
        given_back = [self._under_way[task] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if given_back:
            # Nothing is lost where this fails: the leases run out.
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await self._store.release(given_back, self._clock.now())


class Recorder:
    """Group commit: the attempts that end while a transaction is under way go into the next one together."""

    def __init__(self, store: Store, database: Dependency) -> None:
        self._store = store
        self._database = database
        self._waiting: dict[_Lease, Finished] = {}
        self._kept: dict[_Lease, bool] = {}
        self._writing = asyncio.Lock()

    async def record(self, finished: Finished) -> bool:
        """Returns once it is stored, with True, or with False where the lease was lost and nothing was."""
        lease = _lease(finished)
        self._waiting[lease] = finished
        async with self._writing:
            while lease in self._waiting:  # else who wrote before took it along
                await self._write()
        return self._kept.pop(lease)

    async def _write(self) -> None:
        # One of each delivery: this dispatcher may have claimed one again after it stalled past its own lease.
        together = {each.claimed.delivery_id: each for each in reversed(self._waiting.values())}
        stored = await self._database.reach(lambda: self._store.record(list(together.values())))
        for delivery_id, each in together.items():
            del self._waiting[_lease(each)]
            self._kept[_lease(each)] = delivery_id in stored


_Lease = tuple[str, UUID]


def _lease(finished: Finished) -> _Lease:
    return finished.claimed.delivery_id, finished.claimed.lease_token


def _tell(finished: Finished) -> None:
    claimed, exchange, outcome = finished.claimed, finished.exchange, finished.outcome
    ATTEMPT_SECONDS.observe(exchange.duration_ms / 1000)
    ATTEMPTS.labels("succeeded" if isinstance(outcome, Succeeded) else "failed").inc()
    about = {
        "delivery": claimed.delivery_id,
        "endpoint": claimed.endpoint_id,
        "event_type": claimed.event_type,
        "attempt": claimed.attempt,
        "correlation_id": claimed.correlation_id,
    }
    match outcome:
        case Succeeded():
            DELIVERIES.labels("succeeded").inc()
            log.info("delivery.succeeded", status=exchange.status_code, **about)
        case Exhausted():
            DELIVERIES.labels("exhausted").inc()
            log.error("delivery.exhausted", error=outcome.error, **about)
        case RetryAt():
            log.warning(
                "delivery.attempt_failed", error=outcome.error, retry_at=outcome.at.isoformat(), **about
            )
