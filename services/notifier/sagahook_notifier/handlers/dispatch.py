"""Sending what is due: claim → send → decide → record.

Whoever claims a delivery holds it under a lease. A dispatcher that dies leaves its deliveries to the others when
the lease is over, under the same ids; one that only stalled finds that it can no longer record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.sender import Sender
from sagahook_notifier.domain.deliveries import Claimed, Finished, Places
from sagahook_notifier.domain.operational import Disabled
from sagahook_notifier.domain.policies import RetryAt, decide_outcome
from sagahook_notifier.domain.schedule import Schedule
from sagahook_notifier.domain.verdicts import Rules, judge
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.recorder import Recorder
from sagahook_notifier.handlers.telling import tell_attempts, tell_disabled, tell_lost
from sagahook_notifier.metrics import SENDING

_ROUND = timedelta(seconds=1)
"""Between two looks at all queues, for what others made or left behind. It is longer where a round takes long: a
database with very many queues has better things to do."""
_ROUND_SHARE = 20

_SHORTEST_REST = timedelta(milliseconds=10)
"""Where something is due but another dispatcher is about to take it."""

_GATHER_SECONDS = 0.003
_RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one dispatcher. lease: how long a claim holds; longer than an attempt may take. concurrency, per_endpoint:
    attempts under way at once, in all and to one endpoint. drain: how long a stop waits for those under way."""

    lease: timedelta
    concurrency: int
    per_endpoint: int
    drain: timedelta
    rules: Rules = field(default_factory=Rules)


class Dispatcher:
    """dice: draws from [0, 1), for the jitter of retries. on_recorded: called once outcomes are stored."""

    def __init__(
        self,
        *,
        store: DispatchStore,
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
        self._recorder = Recorder(
            store=store, database=database, judge=partial(judge, limits.rules), on_recorded=self._recorded
        )
        self._schedule = Schedule(limits.concurrency, limits.per_endpoint)
        self._look = asyncio.Event()
        self._gathering = False
        self._next_round: datetime | None = None
        self._attempts: dict[asyncio.Task[None], Claimed] = {}
        self._none_aside = asyncio.Event()
        self._none_aside.set()
        self._draining = False

    def wake(self, endpoints: Iterable[str]) -> None:
        """Something of these may be due."""
        now = self._clock.now()
        for endpoint in endpoints:
            self._schedule.tell(endpoint, now)
        self._look.set()

    def set_aside(self, wanted: Mapping[str, int]) -> Places:
        """Places for deliveries that are about to be made, so many are wanted by endpoint: as many as could be claimed
        at this moment. They are taken back by `hand_over`, whatever comes of them, before more are set aside."""
        now = self._clock.now()
        self._none_aside.clear()
        by_endpoint = {} if self._draining else self._schedule.set_aside(wanted, now)
        return Places(uuid4(), now + self._limits.lease, by_endpoint)

    def hand_over(self, places: Places, claimed: Sequence[Claimed], made: Mapping[str, int]) -> None:
        """claimed: the deliveries that were made for these places. made: how many there are in all, by endpoint; the
        others are looked for as any."""
        self._none_aside.set()
        others = Counter(made)
        for endpoint, count in places.by_endpoint.items():
            for _ in range(count):
                self._schedule.ended(endpoint)
        for each in claimed:
            self._begin(each)
            others[each.target.endpoint_id] -= 1
        SENDING.set(self._schedule.under_way)
        if +others or len(claimed) < sum(places.by_endpoint.values()):
            self.wake(+others)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set and it is cancelled, to end a wait: attempts under way may then end within the
        drain time, and leases are given back. (The event too, because in Python 3.11 a library's `wait_for` may
        swallow the cancellation.)"""
        recording = asyncio.create_task(self._recorder.run(), name="recorder")
        recording.add_done_callback(lambda _: self._look.set())
        try:
            while not stopping.is_set():
                self._look.clear()
                await self._look_round()
                await self._claim()
                self._raise_faults(recording)
                await self._rest()
        finally:
            await self._drain()
            recording.cancel()
            await asyncio.wait({recording})

    async def _look_round(self) -> None:
        now = self._clock.now()
        if self._next_round is not None and now < self._next_round:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = await self._database.reach(self._store.waiting)
        if waiting:
            for endpoint, at in (await self._database.reach(lambda: self._store.next_due(waiting))).items():
                self._schedule.tell(endpoint, at)
        took = timedelta(seconds=loop.time() - began)
        self._next_round = now + max(_ROUND, _ROUND_SHARE * took)

    async def _claim(self) -> None:
        now = self._clock.now()
        rooms = self._schedule.rooms(now)
        if not rooms:
            return
        claimed = await self._database.reach(
            lambda: self._store.claim(token=uuid4(), now=now, lease=self._limits.lease, rooms=rooms)
        )
        for each in claimed:
            self._begin(each)
        SENDING.set(self._schedule.under_way)
        counts = Counter(each.target.endpoint_id for each in claimed)
        if fewer := self._schedule.found(rooms, counts):
            for endpoint, at in (await self._database.reach(lambda: self._store.next_due(fewer))).items():
                self._schedule.tell(endpoint, at if at > now else self._clock.now() + _SHORTEST_REST)

    async def _rest(self) -> None:
        """Until something is due, or room is made for what is."""
        now = self._clock.now()
        until = min(filter(None, (self._next_round, self._schedule.next_at(now))), default=now + _ROUND)
        with suppress(TimeoutError):
            async with asyncio.timeout((until - now).total_seconds()):
                await self._look.wait()

    def _begin(self, claimed: Claimed) -> None:
        task = asyncio.create_task(self._deliver(claimed), name=f"delivery {claimed.delivery_id}")
        self._attempts[task] = claimed
        self._schedule.began(claimed.target.endpoint_id)
        task.add_done_callback(self._attempted)

    async def _deliver(self, claimed: Claimed) -> None:
        if self._clock.now() >= claimed.leased_until:  # this process stalled before it came so far
            tell_lost(claimed)
            self._make_room(claimed)
            return
        exchange = await self._sender.send(claimed)
        now = self._clock.now()
        counted = claimed.attempt - claimed.attempts_before
        outcome = decide_outcome(claimed.target.policy, counted, exchange.said, now, self._dice())
        self._recorder.put(Finished(claimed, exchange, outcome, now))

    def _attempted(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            del self._attempts[task]
        else:
            self._look.set()  # to raise the fault

    def _recorded(
        self, finished: Sequence[Finished], recorded: Sequence[Finished], disabled: Sequence[Disabled]
    ) -> None:
        for each in finished:
            self._make_room(each.claimed)
            if isinstance(each.outcome, RetryAt):
                self._schedule.tell(each.claimed.target.endpoint_id, each.outcome.at)
                self._look.set()  # it may be due before the current rest is over
        SENDING.set(self._schedule.under_way)
        if disabled:
            self._next_round = None  # there are deliveries that tell of it
            self._look.set()
        tell_attempts(finished, recorded)
        tell_disabled(disabled)
        if recorded:
            self._on_recorded()

    def _make_room(self, claimed: Claimed) -> None:
        """For what waited for this place; with what waits for those that end in a moment."""
        endpoint = claimed.target.endpoint_id
        stood_alone = claimed.target.ordered or claimed.probe
        if stood_alone:
            self._schedule.tell(endpoint, self._clock.now())  # the next in line
        if (self._schedule.ended(endpoint) or stood_alone) and not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._look.set()

    def _raise_faults(self, recording: asyncio.Task[None]) -> None:
        """A delivery fails by an outcome; an exception is a fault of ours, and ends the process."""
        for task in (recording, *self._attempts):
            if task.done():
                task.result()

    async def _drain(self) -> None:
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._none_aside.wait()
        late: set[asyncio.Task[None]] = set()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=self._limits.drain.total_seconds())
        given_back = [self._attempts[task] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        # Nothing is lost where this fails: the leases run out.
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._recorder.all_recorded()
                if given_back:
                    await self._store.release(given_back, self._clock.now())
