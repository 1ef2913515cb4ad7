"""The projector's decisions about a batch."""

from itertools import chain, pairwise

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from sagahook.runtime.batches import Batch, Batches
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.identity import record_number
from sagahook_tracker.adapters.news import offsets_payload
from sagahook_tracker.handlers import halves, read
from tests.tracker_log import SagaLog, Written, received


def record(offset: int, written: Written | None = None, partition: int = 0) -> ConsumerRecord:
    value = written.data.to_json() if written is not None and written.data is not None else b"raw body"
    return ConsumerRecord(
        topic="t",
        partition=partition,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        key=b"k",
        value=value,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=len(value),
        headers=tuple(written.envelope.to_headers()) if written is not None else (),
    )


@st.composite
def batches(draw: st.DrawFn) -> Batches:
    """Two records or more, over up to four partitions, with gaps where markers are."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1))
    found = {}
    for partition, size in enumerate(sizes):
        first = draw(st.integers(0, 5))
        offsets = sorted(draw(st.sets(st.integers(first, first + 20), min_size=size, max_size=size)))
        after = draw(st.integers(first + 21, first + 25))
        records = tuple(record(offset, partition=partition) for offset in offsets)
        found[TopicPartition("t", partition)] = Batch(first, after, records)
    return found


@given(batches())
def test_two_halves_say_the_same_as_the_whole_and_each_holds_a_record(whole: Batches) -> None:
    first, second = halves(whole)
    for half in (first, second):
        assert any(batch.records for batch in half.values())
    for partition, batch in whole.items():
        parts = [half[partition] for half in (first, second) if partition in half]
        assert parts[0].first_offset == batch.first_offset
        assert parts[-1].next_offset == batch.next_offset
        assert all(part.next_offset == after.first_offset for part, after in pairwise(parts))
        assert tuple(chain.from_iterable(part.records for part in parts)) == batch.records
        for part in parts:
            assert all(part.first_offset <= each.offset < part.next_offset for each in part.records)


def test_a_received_webhook_is_read_without_its_body() -> None:
    written = received("e1", "c1")
    event = read(record(9, written, partition=3))
    assert (event.number, event.envelope, event.data) == (record_number(3, 9), written.envelope, None)


def test_a_received_webhook_without_a_source_is_refused() -> None:
    anonymous = received("e1", "c1", source="")
    with pytest.raises(Undecodable, match="names no source"):
        read(record(0, anonymous))


def test_an_event_of_a_saga_without_its_place_in_the_log_is_refused() -> None:
    [started] = SagaLog("s1", run=0).started("e1", "c1").written
    with pytest.raises(Undecodable, match="no run or no sequence"):
        read(record(0, started))


def test_the_numbers_of_all_partitions_differ_and_grow_with_the_offset() -> None:
    numbers = [record_number(partition, offset) for offset in range(3) for partition in range(5)]
    assert numbers == sorted(set(numbers))


def test_offsets_that_do_not_fit_a_notification_are_left_to_be_looked_up() -> None:
    few: Batches = {TopicPartition("t", 1): Batch(0, 7, ())}
    assert offsets_payload(few) == '{"t":{"1":7}}'
    many: Batches = {TopicPartition("t", number): Batch(0, 7, ()) for number in range(500)}
    assert offsets_payload(many) == "null"
