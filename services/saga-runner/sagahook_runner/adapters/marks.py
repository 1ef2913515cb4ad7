"""How far a partition was taken up, said by what is written of it (docs/decisions/0031).

The last record that a writer adds to its log tells which offset comes next. The group is told too, for those who watch
it: in the transactions that there are anyway, and else once a second by a request that nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from sagahook.runtime.partition_workers import GroupOffset, Start
from sagahook.runtime.transactions import OutRecord, TransactionalWriter

_HEADER = "taken"
_LOG = "log"
"""What is noted beside a group's offset: this word, and from where on the log may tell of more. An offset without the
note is an operator's, or an older version's: it stands."""

_TELL_SECONDS = 1.0

_TELL_LIMIT = 1.0
"""Seconds that a transaction waits for the telling before it."""


class Mark:
    """Writes, and says how far it was with what is written. source: what is taken up, in the name of the group. log:
    the partition that nobody else writes."""

    def __init__(
        self,
        source: TopicPartition,
        log: TopicPartition,
        writer: TransactionalWriter,
        group: str,
        offset: GroupOffset,
    ) -> None:
        self._source = source
        self._writer = writer
        self._group = group
        self._log = log
        self._log_end = 0
        self._offset = offset
        self._untold_since: float | None = None
        self._telling: asyncio.Task[None] | None = None
        self.next_offset = 0
        """To be taken up next, once what is under way is written."""

    def begin(self, start: Start, taken: int | None, log_end: int) -> int:
        """The offset to begin with. taken: what the log told last, from where the note says; it is less than the
        group's where the last that was taken led to no record. log_end: where the log ends."""
        is_ours = told_from(start) is not None
        self.next_offset = max(start.offset, taken or 0) if is_ours else start.offset
        self._log_end = log_end
        return self.next_offset

    @property
    def is_told(self) -> bool:
        """Whether the group knows it as it is."""
        return self._untold_since is None and self._telling is None

    async def write(
        self, records: Sequence[OutRecord], next_offset: int, *, ahead: Sequence[OutRecord] = ()
    ) -> Mapping[TopicPartition, int]:
        """As `TransactionalWriter.commit`. What goes into the log alone needs no transaction: one batch of it is all or
        nothing by itself, and tells the offset. Else the group is told in the transaction that there is."""
        self.next_offset = next_offset
        if self._untold_since is None:
            self._untold_since = monotonic()
        by_log = bool(records) and all(each.topic == self._log.topic for each in records)
        marked, offsets = self._marked(records, next_offset), {} if by_log else await self._offsets()
        ends = await self._writer.commit(marked, offsets, self._group, ahead=ahead)
        self._log_end = ends.get(self._log, self._log_end)
        return ends

    async def tell_the_group(self) -> None:
        """For sure, as only the writer of this partition can."""
        await self._writer.commit((), await self._offsets(), self._group)

    def tell_now_and_then(self) -> None:
        """Where it was not told for a while. Nothing depends on it: who takes over reads what the log tells as well."""
        if self._telling is not None or self._untold_since is None:
            return
        if monotonic() >= self._untold_since + _TELL_SECONDS:
            self._untold_since = None
            self._telling = asyncio.create_task(self._tell(self.next_offset, self._note))

    async def _tell(self, next_offset: int, note: str) -> None:
        try:
            await self._offset.tell(next_offset, note)
        except (KafkaError, OSError, TimeoutError):
            self._untold_since = monotonic()  # the group changes, or Kafka is away: again, in a while
        finally:
            self._telling = None

    def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()

    @property
    def _note(self) -> str:
        return f"{_LOG} {self._log_end}"

    async def _offsets(self) -> Mapping[TopicPartition, OffsetAndMetadata]:
        if self._telling is not None:  # what was told before should not arrive behind this
            await asyncio.wait({self._telling}, timeout=_TELL_LIMIT)
        # If it may still, it is told once more afterwards.
        self._untold_since = None if self._telling is None else monotonic()
        return {self._source: OffsetAndMetadata(self.next_offset, self._note)}

    def _marked(self, records: Sequence[OutRecord], next_offset: int) -> list[OutRecord]:
        marked = list(records)
        for place in range(len(marked) - 1, -1, -1):
            if marked[place].topic == self._log.topic:
                header = (_HEADER, b"%d" % next_offset)
                marked[place] = marked[place]._replace(headers=[*marked[place].headers, header])
                break
        return marked


def told_from(start: Start) -> int | None:
    """From where on the log may tell of more than the group; None where the group's offset stands."""
    word, _, offset = start.note.partition(" ")
    return int(offset) if word == _LOG and offset.isdecimal() else None


def mark_of(record: ConsumerRecord) -> int | None:
    """The offset that was to come next when the record was written, where it tells."""
    return next((int(value) for name, value in reversed(record.headers) if name == _HEADER), None)


def last_mark(records: Iterable[ConsumerRecord], before: int | None) -> int | None:
    """The newest one. before: of what came before the records."""
    for record in records:
        before = before if (mark := mark_of(record)) is None else mark
    return before
