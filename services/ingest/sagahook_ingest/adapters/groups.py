"""Webhooks that wait for their turn to be published, and which partition's turn it is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from enum import Enum

from sagahook.runtime.logging import get_logger
from sagahook.runtime.telemetry import Span
from sagahook.runtime.telemetry_kafka import sent
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.domain.webhook import Webhook

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """Where a webhook lies in the log, durably. `offset` None: Kafka has it but could not say where."""

    event_id: str
    partition: int
    offset: int | None


class Lost(Enum):
    """Why a webhook's sender was told 503 for good."""

    NOT_WRITTEN = "Kafka was never given it"
    UNKNOWN = "Kafka was given it, and did not say whether it has it"


Settled = Callable[[Published | Lost], None]
"""Told once what became of a webhook, even after its sender was told 503."""

Told = Callable[[Published | Unavailable], None]
"""Told once what the sender is to be told: that Kafka has the webhook durably, or that this took too long."""


def resolve(waiting: asyncio.Future[Published], outcome: Published | Unavailable) -> None:
    """As Told, for whoever waits in a task."""
    if waiting.done():
        return  # cancelled: the sender is gone
    if isinstance(outcome, Unavailable):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)


@dataclass(slots=True, eq=False)
class Entry:
    """One webhook on its way. told: None once it was. deadline: in the loop's time, when its sender is told to try
    again. span: of its way, where its trace is recorded."""

    webhook: Webhook
    told: Told | None
    deadline: float
    settled: Settled | None
    event_id: str = ""
    span: Span | None = None

    def tell(self, outcome: Published | Unavailable) -> None:
        """Without effect where it was told already. The others of its group are told whatever comes of it."""
        told, self.told = self.told, None
        if told is None:
            return
        try:
            told(outcome)
        except Exception:
            log.exception("publish.telling_failed", source=self.webhook.source)

    def end_span(self, outcome: Published | Lost) -> None:
        if self.span is None:
            return
        if isinstance(outcome, Published):
            sent(self.span, outcome.event_id, outcome.partition, outcome.offset)
        else:
            self.span.fail(outcome.name.lower())
            self.span.end()


@dataclass(slots=True, eq=False)
class Group:
    """What is on its way to one partition as one batch."""

    partition: int
    entries: list[Entry] = field(default_factory=list)


class WaitingRoom:
    """Each queue in the order of its deadlines, because every entry may wait equally long."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._turn = -1
        self._anywhere: deque[Entry] = deque()
        self._pinned: dict[int, deque[Entry]] = {}

    def __len__(self) -> int:
        return len(self._anywhere) + sum(map(len, self._pinned.values()))

    def add(self, entry: Entry) -> None:
        pinned = entry.webhook.pinned(self._partitions)
        if pinned is None:
            self._anywhere.append(entry)
        else:
            self._pinned.setdefault(pinned, deque()).append(entry)

    def next_partition(self, busy: Container[int]) -> int | None:
        """Where the next group goes; None where nothing waits or every partition that it could go to is busy."""
        for partition in self._pinned:
            if partition not in busy:
                return partition
        if self._anywhere:
            for step in range(1, self._partitions + 1):
                partition = (self._turn + step) % self._partitions
                if partition not in busy:
                    self._turn = partition
                    return partition
        return None

    def take(self, partition: int, fits: Callable[[Entry], bool]) -> Group:
        """Everything that may go to the partition, as far as it fits."""
        group = Group(partition)
        pinned = self._pinned.get(partition)
        for queue in (pinned, self._anywhere) if pinned else (self._anywhere,):
            while queue and fits(queue[0]):
                group.entries.append(queue.popleft())
            if queue:
                break
        if pinned is not None and not pinned:
            del self._pinned[partition]
        return group

    def expired(self, now: float) -> Iterator[Entry]:
        """Takes out what waited too long."""
        for queue in (self._anywhere, *self._pinned.values()):
            while queue and queue[0].deadline <= now:
                yield queue.popleft()
        self._pinned = {partition: queue for partition, queue in self._pinned.items() if queue}
