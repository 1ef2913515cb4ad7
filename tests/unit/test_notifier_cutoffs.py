"""From when on nothing is kept, and what that depends on."""

from datetime import UTC, datetime, timedelta

from sagahook_notifier.domain.retention import Cutoffs, Kept, cutoffs

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
A_MONTH = Kept(finished=timedelta(days=30), dead=timedelta(days=90))


def day(month: int, number: int, year: int = 2026) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


def test_what_is_older_than_its_age_goes_at_the_beginning_of_a_day() -> None:
    assert cutoffs(A_MONTH, NOON, read_until=NOON) == Cutoffs(fence=day(3, 1), dead=day(12, 31, 2025))


def test_dead_letters_may_stay_until_somebody_asks_for_them() -> None:
    before = cutoffs(Kept(timedelta(days=30), None), NOON, read_until=NOON)

    assert before == Cutoffs(fence=day(3, 1), dead=None)


def test_after_a_long_absence_nothing_goes_that_may_not_have_been_read() -> None:
    before = cutoffs(A_MONTH, NOON + timedelta(days=60), read_until=NOON)

    assert before == Cutoffs(fence=day(3, 30), dead=day(3, 1))


def test_where_it_is_not_known_what_was_read_nothing_goes() -> None:
    assert cutoffs(A_MONTH, NOON, read_until=None) is None


def test_of_a_saga_that_goes_every_event_is_behind_the_fence_by_a_day() -> None:
    before = cutoffs(A_MONTH, NOON, read_until=NOON)

    assert before is not None
    assert before.fence - before.sagas == timedelta(days=1)
