"""What an HTTP answer means for a step: done, refused, later, or unknown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sagahook.saga.declared import plain
from sagahook.saga.errors import PermanentError, RetryLater, UnknownOutcomeError
from sagahook_schemas.base import JsonValue

LONGEST_RETRY_AFTER = 3_600.0
"""Seconds. A host may ask for a later attempt, but not for one that never comes."""

_NOT_APPLIED = frozenset({408, 425, 429, 503})
"""The host says itself that it did not do it, and may later."""
_MOVED = frozenset({301, 307, 308})
"""Redirects that say that the request was not carried out; after a 302 or 303 it may have been."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """headers: names in lower case. json: the body where it is JSON, else None. text: the body as text."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    json: JsonValue = None
    text: str = ""


Expect = int | Collection[int] | Callable[[HttpAnswer], object] | None
"""Which answers are a success: a status, several, a function of the answer, or None: every 2xx."""


class HttpRefused(PermanentError):
    """The host will not do it: compensate now. Nothing was applied."""


class HttpUnexpected(PermanentError, UnknownOutcomeError):
    """An answer that the step cannot go on with, though it may have been applied: no retry, and the step itself is
    compensated too."""


class HttpNotApplied(Exception):
    """Certainly not applied; try again. retry_after: seconds, where the host, or an open circuit, says so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CircuitOpen(HttpNotApplied):
    """Nothing was sent: the host kept failing, and is left alone for `retry_after` seconds."""


class HttpUnknownOutcome(UnknownOutcomeError):
    """It may have been applied; try again under the same key. retry_after: seconds, where the host says so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def is_expected(expect: Expect, answer: HttpAnswer, shown: str) -> bool:
    """shown: the request, as errors call it. Raises what the author's function raises on purpose (PermanentError,
    UnknownOutcomeError, RetryLater), else HttpUnexpected."""
    if expect is None:
        return 200 <= answer.status < 300
    if isinstance(expect, int):
        return answer.status == expect
    if not callable(expect):
        return answer.status in expect
    try:
        return bool(plain(expect(answer)))
    except (PermanentError, UnknownOutcomeError, RetryLater):
        raise
    except Exception as wrong:
        raise HttpUnexpected(
            f"{shown} answered {answer.status}, and the step's expect= failed on it "
            f"({type(wrong).__name__}): correct the function"
        ) from wrong


def failure(status: int, shown: str, said: str, retry_after: float | None) -> Exception:
    """The error that an answer which was not expected is. said: what the host says about it, or ""."""
    what = f"{shown} answered {status}" + (f" ({said})" if said else "")
    if status in _NOT_APPLIED:
        return HttpNotApplied(f"{what}: it was not carried out, and is tried again", retry_after)
    if status >= 500:
        return HttpUnknownOutcome(
            f"{what}: it may have been carried out, and is tried again under the same key", retry_after
        )
    if status >= 400:
        return HttpRefused(
            f"{what}: the host refuses it, so it is not tried again; correct the request or its data"
        )
    if status in _MOVED:
        return HttpRefused(f"{what}: redirects are not followed; give the step the new URL")
    more = "; redirects are not followed" if status >= 300 else ""
    return HttpUnexpected(
        f"{what}, which the step does not expect{more}: it may have been carried out; see expect="
    )


def is_sick(status: int) -> bool:
    """Whether the answer speaks against the host's health."""
    return status >= 500


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds, from 0 to an hour. The header holds seconds or an HTTP date (RFC 9110 §10.2.3); None where it makes
    no sense."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        # Of more digits than this not even the number matters.
        return min(float(text[:9]), LONGEST_RETRY_AFTER) if len(text) <= 9 else LONGEST_RETRY_AFTER
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:  # "-0000" means UTC of an unknown zone
            at = at.replace(tzinfo=UTC)
        return min(max((at - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)
    except (ValueError, OverflowError):
        return None
