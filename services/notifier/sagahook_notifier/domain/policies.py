"""When a delivery is tried again: pure, with the clock and the dice as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from sagahook_notifier.domain.health import Sign

PolicyName = Literal["standard", "task", "exponential"]

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""A receiver may ask for a later attempt by `Retry-After`, but not for one that never comes."""

GONE = 410


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """delays: seconds before the second, third, … attempt; when they are used up the delivery is exhausted.
    jitter: each delay is moved by up to ± this share of itself. success_below: the first status that is not
    a success (from 200 up)."""

    delays: tuple[float, ...]
    jitter: float = 0.0
    success_below: int = 300

    def delay(self, attempt: int, dice: float) -> timedelta | None:
        """How long to wait after attempt n (from 1) failed; None when it was the last. dice: in [0, 1)."""
        if attempt > len(self.delays):
            return None
        return timedelta(seconds=self.delays[attempt - 1] * (1 + self.jitter * (2 * dice - 1)))

    @classmethod
    def of(cls, policy: PolicyName | Sequence[float]) -> RetryPolicy:
        """By name, or from a list of delays in seconds."""
        return NAMED[policy] if isinstance(policy, str) else cls(tuple(policy))


NAMED: dict[str, RetryPolicy] = {
    "standard": RetryPolicy((5, 300, 1_800, 7_200, 18_000, 36_000, 36_000), jitter=0.2),
    # Its callers count a redirect's answer as received.
    "task": RetryPolicy((5, 10), success_below=400),
    "exponential": RetryPolicy(tuple(min(300, 2**n) for n in range(3))),
}
"""api.md §6."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said. retry_after: the header as it came."""

    status: int
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The receiver could not be reached, or did not answer in time: another attempt may succeed."""

    error: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Something of ours is missing, so that nothing was tried: another attempt may succeed."""

    error: str


@dataclass(frozen=True, slots=True)
class Unsendable:
    """No attempt can ever succeed, because of the endpoint's own data: a person must correct it."""

    error: str


@dataclass(frozen=True, slots=True)
class Succeeded:
    pass


@dataclass(frozen=True, slots=True)
class RetryAt:
    at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The delivery waits for a person. is_gone: so does its endpoint, which asked to be sent nothing more."""

    error: str
    is_gone: bool = False


Said = Answer | NoAnswer | NotSent | Unsendable
Outcome = Succeeded | RetryAt | Exhausted


def decide_outcome(
    policy: RetryPolicy,
    attempt: int,
    said: Said,
    now: datetime,
    dice: float,
) -> Outcome:
    """What becomes of a delivery after its attempt n (from 1)."""
    if isinstance(said, Unsendable):
        return Exhausted(said.error)
    asked = None
    if isinstance(said, Answer):
        if 200 <= said.status < policy.success_below:
            return Succeeded()
        if said.status == GONE:
            return Exhausted(
                "the receiver answered 410: it wants nothing more, and its endpoint is disabled", True
            )
        asked = retry_after(said, now)
        redirected = ": redirects are not followed" if 300 <= said.status < 400 else ""
        error = f"the receiver answered {said.status}{redirected}"
    else:
        error = said.error
    delay = policy.delay(attempt, dice)
    if delay is None:
        return Exhausted(error)
    if asked is not None:
        delay = max(delay, asked)
    return RetryAt(now + delay, error)


def sign_of(said: Said, outcome: Outcome) -> Sign:
    """What an attempt says of its endpoint."""
    if isinstance(outcome, Succeeded):
        return "accepted"
    match said:
        case Answer():
            return "sick" if said.status >= 500 else "refused"
        case NoAnswer():
            return "sick"
        case _:
            return "silent"


def pause_asked(said: Said, now: datetime) -> timedelta | None:
    """For how long the receiver wants to be sent nothing at all. In other answers (of RFC 9110 and RFC 6585) the header
    concerns the one request."""
    if not isinstance(said, Answer) or said.status not in (429, 503):
        return None
    return retry_after(said, now) or None


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    asked = parse_retry_after(answer.retry_after, now)
    return None if asked is None else min(asked, LONGEST_RETRY_AFTER)


def parse_retry_after(header: str | None, now: datetime) -> timedelta | None:
    """RFC 9110 §10.2.3: seconds or an HTTP date. None where there is none that makes sense."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # More digits than this only overflow; the caller clamps anyway.
        return timedelta(seconds=int(text[:9])) if len(text) <= 9 else LONGEST_RETRY_AFTER
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:  # "-0000" means UTC of an unknown zone
        at = at.replace(tzinfo=UTC)
    return max(at - now, timedelta(0))
