"""Sends dead letters to where they came from once more, each record once, whoever asks and however often.

One transaction writes the records, the marks that tell of it, and an audit record. Its id is stable for each topic: of
two people who redrive the same topic the one who came first is fenced, and the other reads what was marked by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from sagahook.runtime.audit import audit_record
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.topics import partition_count
from sagahook.runtime.transactions import Fenced, OutRecord, OwnershipLost, TransactionalWriter
from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.topics import AUDIT
from sagahook_tracker.adapters.dead_letters import MARK, OURS, DeadLetterTopics
from sagahook_tracker.domain.dead_letters import SUFFIX, DeadLetter, Wanted, home_of, to_redrive

_AT_ONCE = 100
_BYTES = 1024 * 1024
"""Of one transaction, beyond its first record (docs: design, bounds)."""

_REASON = 1_000


class Overtaken(Exception):
    """Somebody else redrives the topic at this moment: look what is left, and say it again."""


@dataclass(frozen=True, slots=True)
class By:
    """Who asks, and why."""

    actor: str
    reason: str


class Redriving:
    """Its methods raise Unavailable: of the transaction under way all was sent and marked then, or nothing."""

    def __init__(self, letters: DeadLetterTopics, clock: Clock) -> None:
        self._letters = letters
        self._prefix = letters.prefix
        self._clock = clock

    async def chosen(self, topic: str, wanted: Wanted) -> list[DeadLetter] | None:
        """What `redrive` would send; None where there is no such topic."""
        whole = await self._letters.whole(topic)
        return None if whole is None else to_redrive([letter for letter, _ in whole], wanted)

    async def redrive(self, topic: str, wanted: Wanted, by: By, rate: float) -> AsyncIterator[int]:
        """topic: one whose records ask for something, with its `.dlq`. rate: records a second; 0: as fast as it goes.
        Yields how many were sent, after each transaction. Raises Overtaken, TopicsMismatch."""
        writer = TransactionalWriter(self._letters.bootstrap, f"{self._prefix}-redrive-{topic}")
        try:
            partitions = await partition_count(self._letters.bootstrap, self._prefix)
            await writer.start()
            # After the fence nobody else marks anything.
            whole = await self._letters.whole(topic) or []
            records = {letter.place: record for letter, record in whole}
            chosen = to_redrive([letter for letter, _ in whole], wanted)
            for part in _parts(chosen, records, rate):
                sent = [records[letter.place] for letter in part]
                await writer.commit(list(self._written(topic, part, sent, by, partitions)), {}, "")
                yield len(part)
                if rate:
                    await asyncio.sleep(len(part) / rate)
        except Fenced as fenced:
            raise Overtaken(
                f"somebody else redrives {topic} at this moment: see `sagahook dlq show {topic}`, and say it again"
            ) from fenced
        except (OwnershipLost, KafkaError, OSError) as failed:
            raise Unavailable(
                f"Kafka did not answer in time ({failed}): say it again; what was sent is marked"
            ) from failed
        finally:
            await writer.abandon()

    def _written(
        self,
        topic: str,
        letters: Sequence[DeadLetter],
        records: Sequence[ConsumerRecord],
        by: By,
        partitions: int,
    ) -> Iterator[OutRecord]:
        now = self._clock.now()
        milliseconds = int(now.timestamp() * 1000)
        of = topic.removesuffix(SUFFIX)
        for letter, record in zip(letters, records, strict=True):
            key = record.key or b""
            # Its own time would have retention take it at once, where it is old.
            yield OutRecord(
                f"{self._prefix}.{of}",
                home_of(of, key, record.partition, partitions),
                key,
                record.value,
                [(name, value) for name, value in record.headers if name not in OURS],
                milliseconds,
            )
            mark = [(MARK, letter.identity.encode())]
            yield OutRecord(f"{self._prefix}.{topic}", record.partition, key, None, mark, milliseconds)
        places = ", ".join(letter.place for letter in letters)
        told = AuditRecorded(
            at=now,
            service="command-line",
            action="redrive_dead_letters",
            target=topic,
            outcome="done",
            actor=by.actor,
            reason=f"{by.reason or 'no reason given'} ({len(letters)}: {places})"[:_REASON],
        )
        yield audit_record(AUDIT.name(self._prefix), told, partitions)


def _parts(
    letters: Sequence[DeadLetter], records: dict[str, ConsumerRecord], rate: float
) -> Iterator[list[DeadLetter]]:
    """What goes in one transaction: of a second at most, and of bounded size."""
    most = min(_AT_ONCE, max(1, int(rate))) if rate else _AT_ONCE
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        bytes_of = len(records[letter.place].value or b"")
        if part and (len(part) >= most or size + bytes_of > _BYTES):
            yield part
            part, size = [], 0
        part.append(letter)
        size += bytes_of
    if part:
        yield part
