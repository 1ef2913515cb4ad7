"""What reaches the log of a service."""

import asyncio
import logging
from collections.abc import Mapping
from typing import ClassVar

import pytest
from structlog.typing import EventDict

from sagahook.runtime import logging as logging_module
from sagahook.runtime.logging import OnceInAWhile, about, add_ids, trace_fields


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


class Attempt:
    log_fields: ClassVar[Mapping[str, object]] = {"saga_id": "s-1", "correlation_id": "c-1", "attempt": 2}


async def test_a_line_says_what_its_task_is_about_unless_it_says_so_itself() -> None:
    async def of_task() -> tuple[EventDict, EventDict]:
        about(Attempt())
        return add_ids(None, "info", {"event": "one"}), add_ids(None, "info", {"event": "two", "attempt": 7})

    one, two = await asyncio.create_task(of_task())
    assert one == {"event": "one", "saga_id": "s-1", "correlation_id": "c-1", "attempt": 2}
    assert two["attempt"] == 7
    assert add_ids(None, "info", {"event": "another task"}) == {"event": "another task"}


def test_a_line_names_the_trace_of_a_record_where_it_has_one() -> None:
    assert trace_fields("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") == {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    }
    assert trace_fields("") == {}


def test_a_line_names_the_current_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_module, "_traced_by", lambda: "00-1f-2e-01")
    assert add_ids(None, "info", {"event": "one"}) == {"event": "one", "trace_id": "1f", "span_id": "2e"}
