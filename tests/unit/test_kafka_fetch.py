"""The request by which a lookout asks is, byte for byte, the one that aiokafka makes field by field."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest_v4, FetchResponse_v4
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from sagahook.runtime.kafka_fetch import FETCH, Fetched, answer, batches, body
from sagahook.runtime.kafka_frames import framed

TOPIC, OTHER = "saga.events", "webhooks.routed"


def batch(first: int, *values: bytes, compression: int = 0) -> bytes:
    """As a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, value in enumerate(values):
        builder.append(offset, 0, None, value, [])
    built = builder.build()
    struct.pack_into(">q", built, 0, first)
    return bytes(built)


def mark(first: int) -> bytes:
    """The end of a transaction: a batch of its own."""
    built = bytearray(batch(first, b"\0\0\0\1"))
    (attributes,) = struct.unpack_from(">H", built, 21)
    struct.pack_into(">H", built, 21, attributes | 0x30)
    return bytes(built)


def test_it_is_encoded_as_aiokafka_encodes_it() -> None:
    topics = [(TOPIC, [(2, 2**40, 1_000), (0, 0, 1_000)]), (OTHER, [(1, 7, 1_000)])]
    theirs = FetchRequest_v4(-1, 500, 1, 1 << 20, 1, topics)
    whole = theirs.build_request_header(7, "some client").encode() + theirs.encode()
    offsets = {TopicPartition(TOPIC, 2): 2**40, TopicPartition(TOPIC, 0): 0, TopicPartition(OTHER, 1): 7}
    ours = body(offsets, 500, 1_000)
    assert framed(FETCH, 7, b"some client", ours) == struct.pack(">i", len(whole)) + whole


def test_its_answer_says_of_each_partition_what_it_has() -> None:
    told = FetchResponse_v4(
        0,
        [
            (TOPIC, [(2, 0, 9, 9, [(1, 5), (2, 6)], b"records"), (0, 6, -1, -1, None, b"")]),
            (OTHER, [(1, 0, 7, 7, [], b"more")]),
        ],
    ).encode()
    assert list(answer(told)) == [
        Fetched(TOPIC, 2, 0, 9, ((1, 5), (2, 6)), b"records"),
        Fetched(TOPIC, 0, 6, -1, (), b""),
        Fetched(OTHER, 1, 0, 7, (), b"more"),
    ]


def test_an_answer_that_is_cut_is_none() -> None:
    told = FetchResponse_v4(0, [(TOPIC, [(2, 0, 9, 9, [], b"")])]).encode()
    for length in range(len(told)):
        with pytest.raises(struct.error):
            list(answer(told[:length]))


def test_batches_are_told_apart_and_one_that_is_cut_is_left_out() -> None:
    one, two = batch(5, b"first", b"second"), batch(9, b"third")
    for length in range(len(two)):
        [found] = batches(one + two[:length])
        assert found.end == 7
        assert found.records is not None
        assert b"second" in found.records
    assert [found.end for found in batches(one + two)] == [7, 10]


def test_what_is_compressed_is_not_there_to_be_searched() -> None:
    assert [tuple(found) for found in batches(batch(5, b"first", b"second", compression=1))] == [(7, None)]


def test_a_mark_of_a_transaction_is_passed() -> None:
    assert [found.end for found in batches(mark(5) + batch(6, b"first"))] == [6, 7]
    assert next(batches(mark(5))).records == b""
