"""What can go wrong. Each type says what to do next; each text says what happened, and to what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol


class Headers(Protocol):
    """Whatever the case of the name is."""

    def get(self, name: str, /) -> str | None: ...


class SagahookError(Exception):
    """Of every call."""


class Unreachable(SagahookError):
    """There was no answer: is it running there? Where `sent`, nobody knows whether the call was carried out."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class NotOurs(SagahookError):
    """The answer is none of the API's: is the address that of the API?"""


class NotFinal(SagahookError):
    """The time is up, and it still goes on: ask again. `last`: how it stood."""

    def __init__(self, text: str, last: Any) -> None:
        super().__init__(text)
        self.last = last


class Refused(SagahookError):
    """An answer that is an error. errors: of a 400, what is wrong in which place."""

    def __init__(
        self, status: int, error: str, body: Mapping[str, Any], *, retry_after: float | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.path: str | None = body.get("path")
        self.correlation_id: str | None = body.get("correlation_id")
        self.errors: list[dict[str, str]] = body.get("errors") or []
        self.retry_after = retry_after


class BadRequest(Refused):
    """Change the request: `error` says where."""


class NoKey(Refused):
    """Give the client a key."""


class Forbidden(Refused):
    """Take another key: this one is unknown, has expired, or may not do that."""


class NotFound(Refused):
    """Check the id: there is nothing of it."""


class Conflict(Refused):
    """Look how it stands: it is not as the call needs it."""


class TooMany(Refused):
    """Wait `retry_after` seconds, then ask more slowly."""


class Unavailable(Refused):
    """Ask again after `retry_after` seconds: something that the API needs is away."""


class Behind(Unavailable):
    """Ask again after `retry_after` seconds: the views do not yet stand for all that the log holds."""


class ServerFailed(Refused):
    """Tell whoever runs it: the service's log says more under the correlation id."""


_TYPES: Mapping[int, type[Refused]] = {
    401: NoKey,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: TooMany,
    503: Unavailable,
}


def refusal(status: int, headers: Headers, content: bytes) -> SagahookError:
    """The error that an answer is."""
    try:
        body = json.loads(content)
        error = str(body["error"])
    except (ValueError, KeyError, TypeError):
        return NotOurs(f"The answer was {status}, and none of sagahook's: is this the address of the API?")
    kind = _TYPES.get(status, BadRequest if status < 500 else ServerFailed)
    if status == 503 and body.get("reason") == "behind":
        kind = Behind
    return kind(status, error, body, retry_after=_seconds(headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
