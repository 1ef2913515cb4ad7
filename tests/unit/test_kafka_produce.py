"""The request by which ingest and the runner write is, byte for byte, the one that aiokafka makes field by field."""

import struct

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

from sagahook.runtime import kafka_produce
from sagahook.runtime.kafka_frames import framed

TOPIC, OTHER = "webhooks.received", "saga.events"
BATCHES = {2: b"first", 0: b"", 3: b"x" * 70_000}


def test_it_is_encoded_as_aiokafka_encodes_it() -> None:
    theirs = ProduceRequest_v7(None, -1, 5_000, [(TOPIC, list(BATCHES.items())), (OTHER, [(1, b"second")])])
    whole = theirs.build_request_header(7, "some client").encode() + theirs.encode()
    body = kafka_produce.body({TOPIC: BATCHES, OTHER: {1: b"second"}}, 5_000)
    ours = framed(kafka_produce.PRODUCE, 7, b"some client", body)
    assert ours == struct.pack(">i", len(whole)) + whole


def test_its_answer_says_of_each_partition_what_became_of_its_batch() -> None:
    partitions = [(2, 0, 2**40, -1, 0), (0, 6, -1, -1, -1)]
    told = ProduceResponse_v7([(TOPIC, partitions), (OTHER, [(1, 0, 7, -1, 0)])], 0).encode()
    assert kafka_produce.answer(told) == {TOPIC: {2: (0, 2**40), 0: (6, -1)}, OTHER: {1: (0, 7)}}
