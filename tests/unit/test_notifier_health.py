"""How an endpoint's circuit opens and closes, and when it is disabled: arithmetic."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sagahook_notifier.domain.health import HEALTHY, LONGEST_OPEN, Breaker, Health, Sign, settle

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THREE = Breaker(failures=3, open_for=timedelta(seconds=30))


def after(*signs: Sign, health: Health = HEALTHY, probe: bool = False) -> Health:
    for sign in signs:
        health = settle(health, sign, NOON, breaker=THREE, probe=probe, error="away")
    return health


def test_failures_one_after_the_other_open_the_circuit() -> None:
    assert after("sick", "sick").open_until is None
    assert after("sick", "sick", "sick").open_until == NOON + timedelta(seconds=30)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    assert after("sick", "sick", "refused", "sick", "sick").open_until is None
    assert after("sick", "sick", "accepted", "sick", "sick").open_until is None


def test_what_says_nothing_of_the_receiver_changes_nothing() -> None:
    assert after("silent", "silent", "silent") == HEALTHY


def test_attempts_that_were_under_way_when_it_opened_keep_it_open_no_longer() -> None:
    opened = after("sick", "sick", "sick")

    assert after("sick", health=opened).open_until == opened.open_until


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound() -> None:
    health = after("sick", "sick", "sick")
    waits = []
    for _ in range(5):
        health = after("sick", health=health, probe=True)
        assert health.open_until is not None
        waits.append((health.open_until - NOON).total_seconds())

    assert waits == [60, 120, 240, 300, 300]


def test_a_probe_that_is_answered_closes_it() -> None:
    opened = after("sick", "sick", "sick")

    assert after("accepted", health=opened, probe=True) == HEALTHY
    refused = after("refused", health=opened, probe=True)
    assert refused.open_until is None
    assert refused.failing_since == NOON  # an answer, but not yet a success


def test_a_probe_that_was_never_sent_leaves_its_place_to_the_next() -> None:
    opened = after("sick", "sick", "sick")

    assert after("silent", health=opened, probe=True).open_until == NOON


def test_a_receiver_that_asks_for_rest_gets_it_for_a_while() -> None:
    def asked(seconds: int) -> datetime | None:
        wants = timedelta(seconds=seconds)
        return settle(HEALTHY, "refused", NOON, breaker=THREE, probe=False, asked=wants).open_until

    assert asked(7) == NOON + timedelta(seconds=7)
    assert asked(86_400) == NOON + LONGEST_OPEN


def test_it_fails_for_as_long_as_nothing_succeeds() -> None:
    failing = replace(after("refused", "sick"), failing_since=NOON - timedelta(days=5))

    assert failing.has_failed_for(timedelta(days=5), NOON)
    assert not failing.has_failed_for(timedelta(days=5), NOON - timedelta(seconds=1))
    assert not after("accepted", health=failing).has_failed_for(timedelta(days=5), NOON)


@given(st.lists(st.tuples(st.sampled_from(["accepted", "refused", "sick", "silent"]), st.booleans())))
def test_whatever_happens_a_success_makes_it_healthy_and_an_open_circuit_ends(
    happened: list[tuple[Sign, bool]],
) -> None:
    health = HEALTHY
    for sign, probe in happened:
        health = settle(health, sign, NOON, breaker=THREE, probe=probe and health.open_until is not None)
        assert health.open_until is None or NOON <= health.open_until <= NOON + LONGEST_OPEN
        assert (health.failing_since is None) == (health == HEALTHY)
    assert settle(health, "accepted", NOON, breaker=THREE, probe=False) == HEALTHY
