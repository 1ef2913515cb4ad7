"""When the snapshots of what has changed are to be written, and from where on the log must be read until then."""

from datetime import UTC, datetime, timedelta

from sagahook_runner.handlers.unkept import Unkept

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SOON, LATER = NOON + timedelta(seconds=1), NOON + timedelta(seconds=5)


def test_nothing_is_due_while_no_saga_has_changed() -> None:
    unkept = Unkept(7, ())
    unkept.committed((), 1, 8, NOON)
    assert unkept.due_at(NOON) is None
    assert (unkept.begin, unkept.take()) == (7, ())


def test_what_changes_is_due_a_while_after_the_first_of_it_and_each_saga_is_written_once() -> None:
    unkept = Unkept(0, ())
    unkept.committed(["a", "b"], 4, 5, NOON)
    unkept.committed(["b", "c"], 4, 10, SOON)
    assert unkept.due_at(SOON) == LATER
    assert unkept.begin == 0
    assert unkept.take() == ("a", "b", "c")
    assert unkept.begin == 10
    assert unkept.due_at(LATER) is None


def test_many_events_are_due_at_once() -> None:
    unkept = Unkept(0, ())
    unkept.committed(["a"], 20_000, 20_001, NOON)
    assert unkept.due_at(SOON) == SOON


def test_what_an_earlier_owner_had_not_written_is_due_with_what_is_next() -> None:
    unkept = Unkept(3, ["left"])
    unkept.committed((), 1, 9, NOON)
    assert unkept.due_at(NOON) == LATER
    assert unkept.take() == ("left",)
    assert unkept.begin == 9


def test_a_transaction_without_events_moves_nothing() -> None:
    unkept = Unkept(3, ())
    unkept.committed((), 0, None, NOON)
    assert unkept.end == 3
