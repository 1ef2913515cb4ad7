"""Requests and answers on a connection of our own."""

import struct

import pytest
from aiokafka.errors import IncompatibleBrokerVersion

from sagahook.runtime.kafka_frames import first_answer
from sagahook.runtime.kafka_produce import PRODUCE


def test_answers_are_told_apart_however_they_come() -> None:
    came = b"".join(
        struct.pack(">ii", 4 + len(told), number) + told for number, told in ((7, b"one"), (8, b""))
    )
    assert first_answer(came) == (7, b"one", came[11:])
    assert first_answer(came[11:]) == (8, b"", b"")
    for length in range(11):
        assert first_answer(came[:length]) is None


@pytest.mark.parametrize("versions", [{}, {0: (0, 6)}, {0: (8, 12)}])
def test_a_broker_that_does_not_take_it_is_told_from_one_that_does(
    versions: dict[int, tuple[int, int]],
) -> None:
    with pytest.raises(IncompatibleBrokerVersion, match="newer"):
        PRODUCE.check(versions)
    PRODUCE.check({0: (3, 12)})
