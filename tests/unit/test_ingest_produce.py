"""The request by which ingest writes is, byte for byte, the one that aiokafka makes field by field."""

from io import BytesIO

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

from sagahook_ingest.adapters.produce import Produce

BATCHES = {2: b"first", 0: b"", 3: b"x" * 70_000}


def test_it_is_encoded_as_aiokafka_encodes_it() -> None:
    ours = Produce("webhooks.received", BATCHES, 5_000)
    theirs = ProduceRequest_v7(None, -1, 5_000, [("webhooks.received", list(BATCHES.items()))])
    head = ours.build_request_header(7, "some client").encode()
    assert head == theirs.build_request_header(7, "some client").encode()
    assert ours.encode() == theirs.encode()


def test_its_answer_says_of_each_partition_what_became_of_its_batch() -> None:
    request = Produce("webhooks.received", BATCHES, 5_000)
    partitions = [(2, 0, 2**40, -1, 0), (0, 6, -1, -1, -1)]
    answer = BytesIO(b"\0\0\0\x07" + ProduceResponse_v7([("webhooks.received", partitions)], 0).encode())
    assert request.parse_response_header(answer).correlation_id == 7
    assert request.decode(answer) == {2: (0, 2**40), 0: (6, -1)}


@pytest.mark.parametrize("versions", [{}, {0: (0, 6)}, {0: (8, 12)}])
def test_a_broker_that_does_not_take_it_is_told_from_one_that_does(
    versions: dict[int, tuple[int, int]],
) -> None:
    request = Produce("webhooks.received", BATCHES, 5_000)
    with pytest.raises(IncompatibleBrokerVersion, match="newer"):
        request.prepare(versions)
    assert request.prepare({0: (3, 12)}) is request
