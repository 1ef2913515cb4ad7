"""What the services whose offsets live in PostgreSQL are handed of the log, and how they say what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from aiokafka import ConsumerRecord, TopicPartition


class Unavailable(Exception):
    """Try again later: something that the batch needs is away, and the text says what. Nothing of the batch
    was kept, or all of it."""


class OffsetsMoved(Exception):
    """Load the offsets again: the stored ones are not those at which the batch began. It was handled before,
    or another consumer owns the partition by now. Nothing of the batch was kept."""


class OffsetOutOfRange(Exception):
    """Call an operator: Kafka no longer holds the record that is next. Nothing was skipped."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Every record of one partition from `first_offset` up to, but not including, `next_offset`.

    There are fewer records than offsets where transactions left markers or were aborted; there may be none.
    """

    first_offset: int
    next_offset: int
    records: tuple[ConsumerRecord, ...]


Batches = Mapping[TopicPartition, Batch]
LoadOffsets = Callable[[Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
"""The next offset of each partition; one that is absent is read from the beginning of its log.
Raises Unavailable."""
Handle = Callable[[Batches], Awaitable[None]]
"""Keeps all of the batches and their next offsets together, or nothing. Raises Unavailable, OffsetsMoved.

It may return before it is done, and end that when it is called again or by `finish`, whichever comes first."""
Finish = Callable[[], Awaitable[None]]
"""Ends what `handle` began. Raises what that would have."""
