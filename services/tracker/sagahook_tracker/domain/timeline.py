"""What happened, in the order in which one thing brought about the other.

What is told lies in several topics and partitions, written by several machines: their clocks put it in order only where
nothing else does. Within a run its sequence holds, within a delivery its attempts; a run begins after the route or the
parent's step that asked for it, a parent's step ends after its child does, and a delivery follows its saga's event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

from sagahook_schemas.commands import ParentStep
from sagahook_tracker.domain.runs import RunKey

Event = tuple[str, int, int]
"""saga id, run, sequence"""


class Place(NamedTuple):
    """Where the record stands. topic: its name without the deployment's prefix."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, topic: str, number: int) -> Place:
        """number: see `sagahook_schemas.identity.record_number`."""
        return cls(topic, number & 0xFFFF, number >> 16)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the log that is part of the story.

    type: without `sagahook.` and the version. attempt: of a step's phase, or of a delivery. follows: for a delivery
    the event it tells of. details: the event's small fields. size: bytes of a webhook's body, where known.
    """

    place: Place
    at: datetime
    type: str
    correlation_id: str = ""
    traceparent: str | None = None
    event_id: str | None = None
    name: str | None = None
    saga_id: str | None = None
    run: int | None = None
    sequence: int | None = None
    step: str | None = None
    phase: str | None = None
    attempt: int | None = None
    delivery_id: str | None = None
    follows: str | None = None
    status: str | None = None
    error: str | None = None
    message: str | None = None
    duration_ms: float | None = None
    size: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_key(self) -> RunKey | None:
        """Of an event in a run's own log."""
        if self.saga_id is None or self.run is None or self.sequence is None:
            return None
        return self.saga_id, self.run


@dataclass(frozen=True, slots=True)
class Told:
    """An entry in its place of the story. causes: what it followed from, where that is told too. waited_ms: since the
    last of them happened; never negative, for clocks may differ."""

    entry: Entry
    causes: tuple[Place, ...]
    waited_ms: float | None


_ENDS = ("saga.completed", "saga.rolled_back", "saga.failed")
_OUTCOMES = ("step.completed", "step.failed")


def story(entries: Sequence[Entry], parents: Mapping[RunKey, ParentStep]) -> list[Told]:
    """All entries, each once, none before what brought it about; else by their clocks. The same entries give the same
    story, whatever order they come in.

    parents: of each run that another one asked for. Records that contradict each other (in a circle) are told by their
    clocks.
    """
    entries = list({entry.place: entry for entry in sorted(entries, key=_clock)}.values())
    causes = _causes(entries, parents)
    waits = [len(before) for before in causes]
    brings: defaultdict[int, list[int]] = defaultdict(list)
    for index, before in enumerate(causes):
        for cause in before:
            brings[cause].append(index)
    left = dict.fromkeys(range(len(entries)))
    ready = [index for index in left if not waits[index]]
    heapify(ready)
    told = []
    while left:
        index = heappop(ready) if ready else next(iter(left))
        if index not in left:
            continue
        del left[index]
        told.append(_told(entries, index, causes[index]))
        for following in brings[index]:
            waits[following] -= 1
            if not waits[following]:
                heappush(ready, following)
    return told


def _clock(entry: Entry) -> tuple[datetime, Place]:
    return entry.at, entry.place


def _told(entries: Sequence[Entry], index: int, causes: set[int]) -> Told:
    entry = entries[index]
    last = max((entries[cause].at for cause in causes), default=None)
    waited = None if last is None else max(0.0, (entry.at - last).total_seconds() * 1000)
    return Told(entry, tuple(entries[cause].place for cause in sorted(causes)), waited)


def _causes(entries: Sequence[Entry], parents: Mapping[RunKey, ParentStep]) -> list[set[int]]:
    """Of each entry, by its index, those that it comes after. The entries are in the order of their clocks."""
    known = _Known(entries)
    causes: list[set[int]] = [set() for _ in entries]
    for before, after in known.within_runs():
        causes[after].add(before)
    for index, entry in enumerate(entries):
        causes[index].update(known.caused(entry))
    for child, parent in parents.items():
        for before, after in known.between(child, parent):
            causes[after].add(before)
    for index, found in enumerate(causes):
        found.discard(index)
    return causes


class _Known:
    """Finds entries, by index, by what other entries say of them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._webhooks: dict[str, int] = {}
        self._routes: defaultdict[str, list[int]] = defaultdict(list)
        self._events: dict[Event, int] = {}
        self._runs: defaultdict[RunKey, list[int]] = defaultdict(list)
        self._deliveries: defaultdict[str, list[int]] = defaultdict(list)
        for index, entry in enumerate(entries):
            self._enter(index, entry)
        for indexes in self._runs.values():
            indexes.sort(key=lambda index: entries[index].sequence or 0)
        for indexes in (*self._deliveries.values(), *self._routes.values()):
            # What follows in one partition is later there, whatever the clock says.
            indexes.sort(key=lambda index: entries[index].place)

    def _enter(self, index: int, entry: Entry) -> None:
        key = entry.run_key
        if key is not None:
            self._runs[key].append(index)
            self._events[(*key, entry.sequence or 0)] = index
        elif entry.delivery_id is not None:
            self._deliveries[entry.delivery_id].append(index)
        elif entry.event_id is not None and entry.type == "webhook.received":
            self._webhooks[entry.event_id] = index
        elif entry.event_id is not None:
            self._routes[entry.event_id].append(index)

    def within_runs(self) -> Iterator[tuple[int, int]]:
        for indexes in (*self._runs.values(), *self._deliveries.values(), *self._routes.values()):
            yield from pairwise(indexes)
        for (saga_id, run), indexes in self._runs.items():
            if earlier := self._runs.get((saga_id, run - 1)):
                yield self._end_of(earlier), indexes[0]

    def caused(self, entry: Entry) -> Iterator[int]:
        """What the entry itself says it comes after."""
        if entry.delivery_id is not None and entry.follows is not None:
            event = _event(entry.follows)
            if event in self._events:
                yield self._events[event]
        elif entry.event_id is None or entry.type == "webhook.received":
            return
        elif entry.run_key is None:
            if entry.event_id in self._webhooks:
                yield self._webhooks[entry.event_id]
        elif entry.event_id in self._routes:
            yield self._route_of(entry)
        elif entry.event_id in self._webhooks:
            yield self._webhooks[entry.event_id]

    def _route_of(self, entry: Entry) -> int:
        """A webhook that was processed again has several: that of the run is the last one before it."""
        routes = self._routes[entry.event_id or ""]
        before = [route for route in routes if self._entries[route].at <= entry.at]
        return before[-1] if before else routes[0]

    def between(self, child: RunKey, parent: ParentStep) -> Iterator[tuple[int, int]]:
        """The parent's step asks, the child begins; the child ends, the step has its outcome; the step is undone, the
        child undoes; the child has undone, the step is."""
        childs = self._runs.get(child, [])
        of_step = [
            index
            for index in self._runs.get((parent.saga_id, parent.run), [])
            if self._entries[index].step == parent.step
        ]
        asked = [index for index in of_step if self._entries[index].type == "step.child_requested"]
        ends = [index for index in childs if self._entries[index].type in _ENDS]
        undone = [index for index in childs if self._entries[index].type == "saga.compensating"]
        if asked and childs:
            yield self._latest_before(asked, childs[0]), childs[0]
        for phase, end in (("action", ends[:1]), ("compensation", ends[1:] or ends[:1])):
            outcomes = [
                index
                for index in of_step
                if self._entries[index].type in _OUTCOMES and self._entries[index].phase == phase
            ]
            if end and outcomes:
                yield end[-1], outcomes[-1]
        undoing = [
            index
            for index in of_step
            if self._entries[index].type == "step.scheduled" and self._entries[index].phase == "compensation"
        ]
        if undoing and len(ends) > 1 and undone:
            yield undoing[0], undone[-1]

    def _latest_before(self, indexes: Sequence[int], other: int) -> int:
        before = [index for index in indexes if self._entries[index].at <= self._entries[other].at]
        return before[-1] if before else indexes[0]

    def _end_of(self, run: Sequence[int]) -> int:
        """Its first end: an operator may go on with a failed one while the next runs."""
        return next((index for index in run if self._entries[index].type in _ENDS), run[0])


def _event(event_id: str) -> Event | None:
    """See `sagahook_schemas.identity.saga_event_id`."""
    saga_id, _, rest = event_id.partition("/")
    run, _, sequence = rest.partition("/")
    return (saga_id, int(run), int(sequence)) if run.isdecimal() and sequence.isdecimal() else None
