"""Structured logs: one JSON object a line, each with the ids of what it is about: correlation id, saga id, trace id."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

from sagahook.runtime.settings import LogLevel

Logger = structlog.stdlib.BoundLogger

_REMEMBERED = 1_000


class Subject(Protocol):
    """What a task is about."""

    @property
    def log_fields(self) -> Mapping[str, object]:
        """What lines about it say: ids, and never a payload or a secret."""
        ...


_subject: ContextVar[Subject | None] = ContextVar("subject", default=None)
_traced_by: Callable[[], str] = str
"""The traceparent of the current span; "" where there is none, or nothing is traced."""


def about(subject: Subject) -> None:
    """From here on, the lines of this task, of users' code that it calls too, say what they are about."""
    _subject.set(subject)


def know_trace(current: Callable[[], str]) -> None:
    """current: the traceparent of the current span, or "". Lines then name it."""
    global _traced_by  # noqa: PLW0603  # of the process, as the configuration of its logs is
    _traced_by = current


def trace_fields(traceparent: str) -> dict[str, str]:
    """What a line about something says of its trace (W3C Trace Context §3.2); nothing where it has none."""
    parts = traceparent.split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) == 4 else {}


def add_ids(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What the line itself says comes first, then the current span, then what the task is about."""
    subject = _subject.get()
    about_it = {} if subject is None else subject.log_fields
    return {**about_it, **trace_fields(_traced_by()), **line}


def configure_logging(service: str, level: LogLevel, instance: str = "") -> None:
    """Send this process's logs, and those of the libraries it uses, to stderr as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_ids,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(OnceInAWhile("aiokafka"))
    # A collector that is away is told of at every try to reach it.
    handler.addFilter(OnceInAWhile("opentelemetry", seconds=300))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    calm_libraries()
    # alembic names its plugins at INFO before it does anything.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service, **({"instance": instance} if instance else {}))


def calm_libraries() -> None:
    """Those that say more than anybody can read."""
    # aiokafka logs every reconnect attempt at ERROR and every rebalance at INFO; the shell says both once.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("aiokafka").addFilter(_Seldom(seconds=30))
    logging.getLogger("aiokafka.conn").setLevel(logging.CRITICAL)
    # A partition's first record in a transaction is often refused once and repeated within milliseconds.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)


class _Seldom(logging.Filter):
    """Lets each message through once in so many seconds: a client whose broker is away repeats itself many times
    a second."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        template = str(record.msg)
        if record.created - self._said.get(template, 0.0) < self._seconds:
            return False
        self._said[template] = record.created
        return True


class OnceInAWhile(logging.Filter):
    """Of one library's messages each at most once in `seconds`: aiokafka tells every try to reach a broker that
    is away, forty a second. Messages are the same when they differ only in what is filled in."""

    def __init__(self, library: str, seconds: float = 30.0) -> None:
        super().__init__()
        self._library = library
        self._seconds = seconds
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != self._library:
            return True
        key = (record.name, str(record.msg))
        if record.created - self._told.get(key, 0.0) < self._seconds:
            return False
        if len(self._told) >= _REMEMBERED:  # messages that were put together before they came here
            self._told.clear()
        self._told[key] = record.created
        return True


def get_logger(name: str) -> Logger:
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger
