"""Reads a new generation back: is all there that was written, where it belongs, and each saga's log whole?"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from sagahook.cli.repartitioning.generation import Generation, Refused
from sagahook.cli.repartitioning.reading import read_by_time
from sagahook.cli.repartitioning.rules import home_of, stays_behind
from sagahook.cli.repartitioning.writing import Tally, TopicWriter
from sagahook_schemas.topics import SAGA_EVENTS, Topic


async def check(
    log: AIOKafkaConsumer, new: Generation, topic: Topic, writer: TopicWriter, *, is_whole: bool
) -> None:
    """is_whole: the log begins with the first event that there was. Raises Refused, KafkaError."""
    found = Tally()
    places = new.places(topic)
    # Of the saga log one partition after the other: what must be known of its sagas is less then.
    for some in [[place] for place in places] if topic is SAGA_EVENTS else [places]:
        sequences = Sequences(is_whole=is_whole)
        async for records in read_by_time(log, {place: (0, writer.ends[place.partition]) for place in some}):
            for record in records:
                found.add(record.key, record.value, record.headers, record.timestamp)
                if stays_behind(topic, record.key):
                    continue  # the new owner's own
                # What has no key is wherever it was put.
                if record.key and home_of(topic, record, new.partitions) != record.partition:
                    raise _wrong(topic, f"{record.key!r} does not belong in partition {record.partition}")
                if topic is SAGA_EVENTS:
                    sequences.follow(record)
    if found != writer.tally:
        raise _wrong(topic, f"{found.records} records are not the {writer.tally.records} that were written")


class Sequences:
    """Of the sagas of one partition: each run begins with 1 and has no gaps. Memory: some 200 bytes a saga."""

    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._last: dict[bytes, tuple[int, int]] = {}

    def follow(self, record: ConsumerRecord) -> None:
        """Raises Refused."""
        headers = dict(record.headers)
        saga_id = headers.get("ce_sagaid")
        if saga_id is None:
            return  # a limit's
        run, sequence = int(headers["ce_sagarun"]), int(headers["ce_sequence"])
        last = self._last.get(saga_id)
        follows = (
            (sequence == 1 or not self._is_whole)
            if last is None
            else (run, sequence) == (last[0], last[1] + 1) or (run > last[0] and sequence == 1)
        )
        if not follows:
            raise _wrong(
                SAGA_EVENTS, f"of the saga {saga_id.decode()} event {run}/{sequence} comes after {last}"
            )
        self._last[saga_id] = run, sequence


def _wrong(topic: Topic, what: str) -> Refused:
    return Refused(
        f"{topic.base}, read back: {what}. The old topics are as they were; this is a fault of ours: tell us"
    )
