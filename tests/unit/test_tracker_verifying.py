"""What is let go when, and what a difference tells of the values that differ."""

from datetime import UTC, datetime, timedelta

import pytest

from sagahook_schemas.codec import decode_data
from sagahook_schemas.envelope import Envelope
from sagahook_tracker.domain.changes import Event, fold
from sagahook_tracker.domain.differences import Report, compare, missing
from sagahook_tracker.domain.expected import OfAll, OfPartition
from sagahook_tracker.domain.retention import BEGINNING, Cutoff, Kept, cutoffs, days_ahead, is_over
from sagahook_tracker.domain.states import States
from tests.saga_world import World
from tests.unit.test_engine_chaos import chaos

NOON = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


def test_a_row_is_kept_for_its_age_and_at_most_a_day_longer() -> None:
    kept = Kept({"history": 7 * 86_400.0, "audit": 86_400.0}, rows=100)
    assert list(cutoffs(kept, NOON)) == [
        Cutoff("history", datetime(2026, 3, 3, tzinfo=UTC), 100),
        Cutoff("audit", datetime(2026, 3, 9, tzinfo=UTC)),
    ]


def test_the_number_of_rows_is_bounded_also_where_their_age_is_not() -> None:
    assert list(cutoffs(Kept({}, rows=100), NOON)) == [Cutoff("history", BEGINNING, 100)]
    assert list(cutoffs(Kept({}, rows=None), NOON)) == []


@pytest.mark.parametrize(("day", "over"), [("20260302", True), ("20260303", False), ("20260304", False)])
def test_a_partition_is_over_when_all_of_its_day_is(day: str, over: bool) -> None:
    assert is_over(f"history_{day}", datetime(2026, 3, 3, tzinfo=UTC)) is over


def test_partitions_are_made_for_today_and_the_days_after() -> None:
    late = datetime(2026, 2, 27, 23, 30, tzinfo=UTC).astimezone(tz=None)
    assert [day.isoformat() for day in days_ahead(late)] == [
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
        "2026-03-02",
    ]


def test_a_difference_tells_no_text_that_may_be_secret() -> None:
    report = Report()
    compare(
        report,
        "runs",
        ("s", 1),
        {"state": "FAILED", "error": "token=abc", "context": {"password": "x"}, "run": 1},
        {"state": "COMPLETED", "error": None, "context": {"password": "y"}, "run": 1},
    )
    context, error, state = map(str, report.differences)
    assert state == "runs (s, 1): state is 'FAILED', but the log says 'COMPLETED'"
    assert error.startswith("runs (s, 1): error is <9 characters, SHA-256 ")
    assert error.endswith(">, but the log says None")
    assert "password" not in context


def test_a_column_that_only_one_side_has_is_a_difference() -> None:
    report = Report()
    compare(report, "runs", ("s", 1), {"new": 1}, {})
    assert (report.count, report.compared["runs"]) == (1, 1)


def test_no_more_differences_are_kept_than_can_be_read() -> None:
    report = Report()
    missing(report, "runs", told=[((str(number),), {}) for number in range(1_000)])
    assert (report.count, len(report.differences)) == (1_000, 100)


def test_the_names_of_events_tell_how_runs_ended() -> None:
    states = States()
    for run, kind, minutes in (
        (b"1", b"saga.completed", 0),
        (b"2", b"saga.completed", 1),
        (b"2", b"saga.compensating", 2),
        (b"2", b"saga.rolled_back", 3),
        (b"3", b"saga.failed", 4),
        (b"3", b"step.scheduled", 5),
    ):
        time = (NOON + timedelta(minutes=minutes)).isoformat().encode()
        name = b"sagahook." + kind + b".v1"
        states.add({"ce_sagaid": b"s", "ce_sagarun": run, "ce_type": name, "ce_time": time})
    assert states.final(BEGINNING) == {"COMPLETED": 1, "ROLLED_BACK": 1}
    assert states.final(NOON + timedelta(minutes=1)) == {"ROLLED_BACK": 1}


@pytest.mark.parametrize("seed", [108, 141, 145])
def test_what_is_counted_of_any_lawful_log_is_what_the_log_tells(seed: int) -> None:
    """Also where an operator has a wait begun anew that failed: its one attempt ends twice."""
    _, world = chaos(seed)
    part, everything = OfPartition(), OfAll()
    part.add(logged(world))
    everything.add(part)
    counted = {place: count for place, count in fold(logged(world), {}).rollups.counts.items() if count}
    assert counted == {place: count for place, count in everything.counts.items() if place[0] is not None}


def logged(world: World) -> list[Event]:
    return [
        Event(
            number,
            Envelope(
                id=f"{each.saga_id}/{each.run}/{each.sequence}",
                source="/sagahook/saga-runner",
                type=each.ce_type,
                time=each.time,
                correlation_id=each.correlation_id,
                saga_id=each.saga_id,
                run=each.run,
                sequence=each.sequence,
            ),
            decode_data(each.ce_type, each.value),
        )
        for number, each in enumerate(world.log)
    ]
