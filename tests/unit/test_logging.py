"""What reaches the log of a service."""

import logging

from sagahook.runtime.logging import OnceInAWhile


def record(logger: str, message: str, at: float, *filled_in: object) -> logging.LogRecord:
    made = logging.LogRecord(logger, logging.WARNING, "", 0, message, filled_in, None)
    made.created = at
    return made


def test_a_library_that_repeats_itself_is_heard_once_in_a_while() -> None:
    calm = OnceInAWhile("aiokafka", seconds=30)
    heard = [at for at in range(100, 200) if calm.filter(record("aiokafka.consumer", "no broker %s", at, at))]
    assert heard == [100, 130, 160, 190]


def test_another_message_and_another_library_are_heard() -> None:
    calm = OnceInAWhile("aiokafka", seconds=30)
    assert calm.filter(record("aiokafka", "no broker", 100))
    assert calm.filter(record("aiokafka", "no topic", 100))
    assert calm.filter(record("sagahook.runtime", "no broker", 100))
    assert calm.filter(record("sagahook.runtime", "no broker", 100))


def test_what_it_remembers_is_bounded() -> None:
    calm = OnceInAWhile("aiokafka", seconds=30)
    for number in range(5_000):
        assert calm.filter(record("aiokafka", f"put together {number}", 100))
    assert calm.filter(record("aiokafka", "put together 0", 100))
