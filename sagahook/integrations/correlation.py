"""The correlation id of the request that is served (api.md §1): taken or made, kept, echoed, and handed on."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from sagahook.runtime.http_errors import CORRELATION_HEADER, CORRELATION_ID
from sagahook.runtime.ids import new_event_id

_current: ContextVar[str] = ContextVar("correlation_id", default="")


def begin_request(given: str | None) -> str:
    """A request begins, with this in its header. What is no correlation id is not taken; then, as where there is
    none, one is made."""
    taken = given if given is not None and CORRELATION_ID.match(given) else new_event_id()
    _current.set(taken)
    return taken


def end_request() -> None:
    _current.set("")


def current_correlation_id() -> str:
    """Of the request that is served; "" outside of any."""
    return _current.get()


def correlation_headers() -> dict[str, str]:
    """For the requests that are made on behalf of this one."""
    current = _current.get()
    return {CORRELATION_HEADER: current} if current else {}


class CorrelationFilter(logging.Filter):
    """Gives each log record a `correlation_id`, for the format of the application's own log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = _current.get()
        return True
