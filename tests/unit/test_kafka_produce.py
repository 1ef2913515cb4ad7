"""The request by which ingest and the runner write is, byte for byte, the one that aiokafka makes field by field."""

import struct

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

from sagahook.runtime import kafka_produce

TOPIC, OTHER = "webhooks.received", "saga.events"
BATCHES = {2: b"first", 0: b"", 3: b"x" * 70_000}


def test_it_is_encoded_as_aiokafka_encodes_it() -> None:
    theirs = ProduceRequest_v7(None, -1, 5_000, [(TOPIC, list(BATCHES.items())), (OTHER, [(1, b"second")])])
    whole = theirs.build_request_header(7, "some client").encode() + theirs.encode()
    ours = kafka_produce.framed(
        7, b"some client", kafka_produce.body({TOPIC: BATCHES, OTHER: {1: b"second"}}, 5_000)
    )
    assert ours == struct.pack(">i", len(whole)) + whole


def test_its_answer_says_of_each_partition_what_became_of_its_batch() -> None:
    partitions = [(2, 0, 2**40, -1, 0), (0, 6, -1, -1, -1)]
    told = ProduceResponse_v7([(TOPIC, partitions), (OTHER, [(1, 0, 7, -1, 0)])], 0).encode()
    assert kafka_produce.answer(told) == {TOPIC: {2: (0, 2**40), 0: (6, -1)}, OTHER: {1: (0, 7)}}


def test_answers_are_told_apart_however_they_come() -> None:
    came = b"".join(
        struct.pack(">ii", 4 + len(told), number) + told for number, told in ((7, b"one"), (8, b""))
    )
    assert kafka_produce.first_answer(came) == (7, b"one", came[11:])
    assert kafka_produce.first_answer(came[11:]) == (8, b"", b"")
    for length in range(11):
        assert kafka_produce.first_answer(came[:length]) is None


@pytest.mark.parametrize("versions", [{}, {0: (0, 6)}, {0: (8, 12)}])
def test_a_broker_that_does_not_take_it_is_told_from_one_that_does(
    versions: dict[int, tuple[int, int]],
) -> None:
    with pytest.raises(IncompatibleBrokerVersion, match="newer"):
        kafka_produce.check_version(versions)
    kafka_produce.check_version({0: (3, 12)})
