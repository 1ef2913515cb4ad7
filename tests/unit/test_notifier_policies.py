"""When a delivery is tried again: the policies of api.md §6, as arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from sagahook_notifier.domain.policies import (
    LONGEST_RETRY_AFTER,
    Answer,
    Exhausted,
    NoAnswer,
    NotSent,
    Outcome,
    PolicyName,
    RetryAt,
    RetryPolicy,
    Said,
    Succeeded,
    Unsendable,
    decide_outcome,
    pause_asked,
    sign_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDDLE = 0.5  # the dice that leave a delay as it is


def decide(policy: RetryPolicy, attempt: int, said: Said, dice: float = MIDDLE) -> Outcome:
    return decide_outcome(policy, attempt, said, NOW, dice)


def delays(policy: RetryPolicy) -> list[float]:
    """Seconds after each failed attempt until the next, while there is one."""
    waits: list[float] = []
    while isinstance(outcome := decide(policy, len(waits) + 1, NoAnswer("away")), RetryAt):
        waits.append((outcome.at - NOW).total_seconds())
    return waits


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy.of("standard"), [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]),
        (RetryPolicy.of("task"), [5, 10]),
        (RetryPolicy.of("exponential"), [1, 2, 4]),
        (RetryPolicy.of([0.5, 60]), [0.5, 60]),
        (RetryPolicy.of([]), []),
    ],
)
def test_each_policy_waits_as_it_is_documented(policy: RetryPolicy, expected: list[float]) -> None:
    assert delays(policy) == expected


def test_the_standard_policy_moves_each_delay_by_up_to_a_fifth() -> None:
    earliest = decide(RetryPolicy.of("standard"), 2, NoAnswer("away"), dice=0.0)
    latest = decide(RetryPolicy.of("standard"), 2, NoAnswer("away"), dice=0.999_999)

    assert isinstance(earliest, RetryAt)
    assert isinstance(latest, RetryAt)
    assert earliest.at - NOW == timedelta(seconds=240)
    assert timedelta(seconds=359) < latest.at - NOW <= timedelta(seconds=360)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_two_hundreds_are_success(status: int) -> None:
    assert decide(RetryPolicy.of("standard"), 1, Answer(status)) == Succeeded()


@pytest.mark.parametrize("status", [100, 199, 301, 307, 400, 404, 409, 500, 503])
def test_everything_else_is_a_failure(status: int) -> None:
    assert isinstance(decide(RetryPolicy.of("standard"), 1, Answer(status)), RetryAt)


def test_under_the_task_policy_anything_below_four_hundred_is_success() -> None:
    assert decide(RetryPolicy.of("task"), 1, Answer(302)) == Succeeded()
    assert isinstance(decide(RetryPolicy.of("task"), 1, Answer(400)), RetryAt)


def test_the_last_attempts_failure_leaves_the_delivery_to_a_person() -> None:
    assert decide(RetryPolicy.of("task"), 3, Answer(500)) == Exhausted("the receiver answered 500")


@pytest.mark.parametrize("policy", ["standard", "task"])
def test_a_receiver_that_is_gone_gets_nothing_more(policy: PolicyName) -> None:
    outcome = decide(RetryPolicy.of(policy), 1, Answer(410))

    assert isinstance(outcome, Exhausted)
    assert outcome.is_gone


@pytest.mark.parametrize(
    ("said", "sign"),
    [
        (Answer(204), "accepted"),
        (Answer(302), "refused"),
        (Answer(404), "refused"),
        (Answer(429), "refused"),
        (Answer(503), "sick"),
        (NoAnswer("away"), "sick"),
        (NotSent("no secret"), "silent"),
        (Unsendable("no URL"), "silent"),
    ],
)
def test_each_attempt_says_something_of_its_endpoint(said: Said, sign: str) -> None:
    assert sign_of(said, decide(RetryPolicy.of("standard"), 1, said)) == sign


def test_only_a_busy_receiver_asks_for_rest_from_all() -> None:
    assert pause_asked(Answer(429, "7"), NOW) == timedelta(seconds=7)
    assert pause_asked(Answer(503, "7"), NOW) == timedelta(seconds=7)
    assert pause_asked(Answer(503), NOW) is None
    assert pause_asked(Answer(503, "0"), NOW) is None
    assert pause_asked(Answer(301, "7"), NOW) is None


def test_what_can_never_be_sent_is_not_tried_again() -> None:
    assert decide(RetryPolicy.of("standard"), 1, Unsendable("no such scheme")) == Exhausted("no such scheme")


def test_a_redirect_is_a_failure_that_says_so() -> None:
    outcome = decide(RetryPolicy.of("standard"), 1, Answer(307))

    assert isinstance(outcome, RetryAt)
    assert outcome.error == "the receiver answered 307: redirects are not followed"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120),
        ("0", 5),  # never sooner than the policy
        ("Sun, 01 Mar 2026 11:00:00 GMT", 5),
        ("99999999999999999999999", LONGEST_RETRY_AFTER.total_seconds()),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER.total_seconds()),
        ("-5", 5),
        ("1.5", 5),
        ("soon", 5),
        ("", 5),
        ("٣", 5),  # a digit, but not HTTP's
        ("Sun, 99 Mar 2026 12:02:00 GMT", 5),
    ],
)
def test_retry_after_is_honoured_within_reason(header: str, seconds: float) -> None:
    outcome = decide(RetryPolicy.of("standard"), 1, Answer(503, retry_after=header))

    assert isinstance(outcome, RetryAt)
    assert (outcome.at - NOW).total_seconds() == seconds
