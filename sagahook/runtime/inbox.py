"""Records that were read and wait to be worked off, bounded by count and by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from aiokafka import ConsumerRecord

MOST_RECORDS = 2_000
MOST_BYTES = 16 * 1024 * 1024


class Inbox:
    """What one partition's worker has been given. `next_offset`: after the last record given."""

    def __init__(self) -> None:
        self._records: deque[ConsumerRecord] = deque()
        self._bytes = 0
        self.next_offset = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        return iter(self._records)

    def extend(self, records: Sequence[ConsumerRecord]) -> None:
        self._records.extend(records)
        self._bytes += sum(_size(record) for record in records)
        self.next_offset = records[-1].offset + 1

    def popleft(self) -> ConsumerRecord:
        record = self._records.popleft()
        self._bytes -= _size(record)
        return record

    @property
    def first_offset(self) -> int | None:
        """Of the record that has waited longest; None where none does."""
        return self._records[0].offset if self._records else None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now. (What is under way may still come.)"""
        return len(self._records) >= MOST_RECORDS or self._bytes >= MOST_BYTES


def _size(record: ConsumerRecord) -> int:
    return len(record.value or b"")
