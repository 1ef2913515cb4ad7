"""The runs that a projector need not read again."""

from itertools import chain

from sagahook_schemas.identity import record_number
from sagahook_tracker.domain.changes import Event, fold
from sagahook_tracker.domain.open_runs import OpenRuns
from tests.tracker_log import SagaLog


def events_of(log: SagaLog) -> list[Event]:
    return [each.event(record_number(0, offset)) for offset, each in enumerate(log.written)]


def test_a_run_that_goes_on_is_remembered_as_it_was_stored() -> None:
    runs, events = OpenRuns(), events_of(SagaLog("s1").started("e1", "c1").done("a", "b").completed())
    taken, missing = runs.take(events[:3])
    assert (taken, missing) == ({}, {("s1", 1): 1})
    runs.keep(fold(events[:3], taken).runs.values())

    taken, missing = runs.take(events[3:])
    assert missing == {}
    run = taken["s1", 1]
    assert (run.sequence, run.completed_steps, run.context) == (3, ("a",), None)


def test_a_run_whose_batch_was_not_stored_has_to_be_read() -> None:
    runs, events = OpenRuns(), events_of(SagaLog("s1").started("e1", "c1").done("a", "b"))
    runs.keep(fold(events[:3], {}).runs.values())
    runs.take(events[3:4])
    assert runs.take(events[3:4]) == ({}, {("s1", 1): 4})


def test_nothing_is_remembered_of_runs_that_have_ended_or_of_partitions_that_went() -> None:
    runs = OpenRuns()
    ended = events_of(SagaLog("s1").started("e1", "c1").completed())
    runs.keep(fold(ended, {}).runs.values())
    assert runs.take(ended)[0] == {}

    going = events_of(SagaLog("s2").started("e1", "c1").scheduled("a"))
    runs.keep(fold(going, {}).runs.values())
    runs.forget()
    assert runs.take(going)[0] == {}


def test_of_very_many_those_that_changed_last_are_remembered() -> None:
    runs = OpenRuns()
    logs = [events_of(SagaLog(f"s{number}").started("e1", "c1").scheduled("a")) for number in range(2_010)]
    runs.keep(fold(chain(*logs[:2_000]), {}).runs.values())
    runs.keep(runs.take(logs[0])[0].values())
    runs.keep(fold(chain(*logs[2_000:]), {}).runs.values())
    taken, missing = runs.take(chain(*logs))
    assert set(missing) == {(f"s{number}", 1) for number in range(1, 11)}
    assert len(taken) == 2_000
