"""How far a partition was taken up, said by what is written of it (docs/decisions/0031).

The last record that a writer adds to its log tells which offset comes next. The group is told too, for those who watch
it: in the transactions that there are anyway, and else once a second, in one of its own that no record waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from sagahook.runtime.partitions import Start
from sagahook.runtime.transactions import OutRecord

_HEADER = "taken"
_LOG = "log"
"""What is noted beside a group's offset: this word, and from where on the log may tell of more. An offset without the
note is an operator's, or an older version's: it stands."""

_TELL_SECONDS = 1.0


class Mark:
    """source: what is taken up. log: the partition that nobody else writes."""

    def __init__(self, source: TopicPartition, log: TopicPartition) -> None:
        self._source = source
        self._log = log
        self._log_end = 0
        self._untold_since: float | None = None
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
        return self._untold_since is None

    @property
    def is_due(self) -> bool:
        """Whether the group is to be told."""
        return self._untold_since is not None and monotonic() >= self._untold_since + _TELL_SECONDS

    def put_on(self, records: Sequence[OutRecord], next_offset: int) -> list[OutRecord]:
        """The records to be written, of which the last in the log tells the offset; where none is in the log, the group
        must be told with them."""
        self.next_offset = next_offset
        if self._untold_since is None:
            self._untold_since = monotonic()
        return self._marked(records, next_offset)

    def offsets(self) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """What to tell the group, by a commit."""
        self._untold_since = None
        return {self._source: OffsetAndMetadata(self.next_offset, f"{_LOG} {self._log_end}")}

    def _marked(self, records: Sequence[OutRecord], next_offset: int) -> list[OutRecord]:
        marked = list(records)
        for place in range(len(marked) - 1, -1, -1):
            if marked[place].topic == self._log.topic:
                header = (_HEADER, b"%d" % next_offset)
                marked[place] = marked[place]._replace(headers=[*marked[place].headers, header])
                break
        return marked

    def committed(self, ends: Mapping[TopicPartition, int]) -> None:
        """ends: the offset behind the last record in each partition."""
        self._log_end = ends.get(self._log, self._log_end)


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
