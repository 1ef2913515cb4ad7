"""Whole sagas as people read them: the files in golden/ are what the engine writes, event by event.

A change of the engine shows here as a diff of a transcript. To accept it, run with SAGAHOOK_WRITE_GOLDEN=1 and
read the diff before committing it.
"""

import os
from datetime import datetime
from pathlib import Path
from textwrap import fill

import pytest
from orjson import dumps, loads

from sagahook_runner.domain.commands import AttemptSucceeded, Command, Park, StepDue
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Retry
from tests.oracle import Logged, check_effects, check_log
from tests.saga_parts import LimitRecord
from tests.saga_scenes import SCENES as GRAPHS
from tests.saga_scenes import Scene, names, script
from tests.saga_world import BEGINNING, Script, World, definition, plans, start

GOLDEN = Path(__file__).parent / "golden"
WRITE = "SAGAHOOK_WRITE_GOLDEN"

ORDER = definition("reserve", "charge", "ship!")


def order(come_to: Script) -> World:
    """An order of three steps, of which the last cannot be undone, started and run to its end."""
    world = World([ORDER], come_to)
    world.apply("saga", start("evt-1", context={"order_id": 7}))
    world.run()
    return world


def happy_path() -> World:
    """Every step is done once, in its order, each scheduled in the log before it runs."""
    return order(script())


def retry_then_success() -> World:
    """A failed attempt is tried again when its retry is due, each time twice as long after the failure."""
    return order(script(charge=["fails", "fails", "ok"]))


def refusal_is_undone_in_reverse() -> World:
    """A step that is refused for good is not tried again; what was done before it is undone, last first. The
    refused step did nothing, so there is nothing of it to undo."""
    world = World([definition("reserve", "charge", "pack", "ship")], script(ship=["refused"]))
    world.apply("saga", start("evt-1"))
    world.run()
    return world


def retries_used_up() -> World:
    """When the last retry has failed too, the saga is undone."""
    return order(script(charge=["fails", "fails", "fails"]))


def time_out_is_unknown() -> World:
    """An attempt that timed out may have been applied all the same, so its own step is undone first."""
    return order(script(charge=["times out applied"] * 3))


def time_out_then_refusal() -> World:
    """Once one attempt's outcome is unknown, a later refusal of the same step does not make it known."""
    return order(script(charge=["times out late", "refused"]))


def time_out_of_a_step_that_cannot_be_undone() -> World:
    """A step without a compensation is left out of the undoing, whatever its outcome."""
    return order(script(ship=["times out applied", "refused"]))


def first_step_refused() -> World:
    """Where nothing was done, nothing is undone."""
    return order(script(reserve=["refused"]))


def compensation_is_retried() -> World:
    """A compensation has retries of its own, here more and later ones than its action."""
    patient = Retry(max=3, initial=60, jitter=0)
    world = World(
        [definition("charge", "ship!", undo=patient)],
        script(ship=["refused"], undo_charge=["fails", "times out applied", "fails", "ok"]),
    )
    world.apply("saga", start("evt-1"))
    world.run()
    return world


def compensation_fails_for_good() -> World:
    """The saga fails and says which steps are left behind, in the order in which they would have been undone:
    an operator must act."""
    return order(script(ship=["refused"], undo_charge=["refused"]))


def crashes_are_survived() -> World:
    """An attempt whose process died is logged as lost by the next owner and made again at once."""
    return order(script(charge=["crash after", "crash before", "ok"]))


def crash_then_refusal() -> World:
    """A lost attempt may have been applied: the step is undone although its last attempt was refused."""
    return order(script(charge=["crash after", "refused"]))


def three_crashes_suspend() -> World:
    """A step that kills its process three times is not tried a fourth time: the saga waits for an operator."""
    return order(script(charge=["crash before"] * 3))


def failures_between_crashes() -> World:
    """Crashes count for the whole step, whatever happens between them."""
    return order(script(charge=["crash before", "fails", "crash before", "fails", "crash before"]))


def crashes_of_two_phases() -> World:
    """A compensation's crashes are counted by themselves."""
    return order(
        script(
            reserve=["crash after", "crash after"],
            charge=["refused"],
            undo_reserve=["crash before", "crash after"],
        )
    )


def stopped_and_never_begun_do_not_count() -> World:
    """Orderly stops never suspend a saga, not even one that is a single crash away from it."""
    return order(script(charge=["crash before", "stopped", "crash before", "never begun", "stopped", "ok"]))


def never_begun_is_known() -> World:
    """An attempt that never began had no effect: a refusal after it leaves nothing of the step to undo."""
    return order(script(charge=["never begun", "refused"]))


def duplicate_joins() -> World:
    """A second webhook with the same identity joins the run that is under way; the first one's own start, seen
    again, does nothing."""
    world = World([ORDER], script())
    world.apply("saga", start("evt-1"))
    world.apply("saga", start("evt-1"))
    world.apply("saga", start("evt-2"))
    world.run()
    return world


def joining_a_finished_saga() -> World:
    """It is answered with how the saga ended and nothing is run again."""
    world = order(script(charge=["refused"]))
    world.apply("saga", start("evt-2"))
    return world


def version_not_deployed() -> World:
    """The webhook is not lost: its saga waits until the version is deployed."""
    world = World([ORDER], script())
    world.apply("saga", start("evt-1", version=2))
    world.apply("saga", start("evt-2", version=1))
    world.run()
    return world


def without_steps() -> World:
    """A saga of which there is nothing to do is completed by its start."""
    world = World([definition(name="empty")], script())
    world.apply("saga", start("evt-1", name="empty"))
    return world


def no_retry_wanted() -> World:
    """The error class that a policy names as not retryable ends the step at once."""
    retry = Retry(max=5, non_retryable=("ShopError",))
    world = World([definition("charge", retry=retry)], script(charge=["fails"]))
    world.apply("saga", start("evt-1"))
    world.run()
    return world


def parked_by_its_owner() -> World:
    """A saga that nothing deployed can carry on is suspended; outcomes and timers that come later do nothing."""
    world = World([ORDER], script(reserve=["fails"]))
    world.apply("saga", start("evt-1"))
    world.run(until=BEGINNING.replace(second=0, microsecond=500_000))
    world.apply("saga", Park("its definition changed"))
    stale: list[Command] = [
        AttemptSucceeded(1, "reserve", "action", 1, "late", 9),
        StepDue(1, "charge", 2),
        Park("again"),
    ]
    for command in stale:
        world.apply("saga", command)
    world.run()
    return world


SCENES: list[Scene] = [
    happy_path,
    retry_then_success,
    refusal_is_undone_in_reverse,
    retries_used_up,
    time_out_is_unknown,
    time_out_then_refusal,
    time_out_of_a_step_that_cannot_be_undone,
    first_step_refused,
    compensation_is_retried,
    compensation_fails_for_good,
    crashes_are_survived,
    crash_then_refusal,
    three_crashes_suspend,
    failures_between_crashes,
    crashes_of_two_phases,
    stopped_and_never_begun_do_not_count,
    never_begun_is_known,
    duplicate_joins,
    joining_a_finished_saga,
    version_not_deployed,
    without_steps,
    no_retry_wanted,
    parked_by_its_owner,
    *GRAPHS,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_engine_writes_this_transcript(scene: Scene) -> None:
    world = scene()
    told = transcript(scene, world)
    file = GOLDEN / f"{scene.__name__}.txt"
    if os.environ.get(WRITE):
        file.write_text(told)
    assert told == file.read_text(), f"{file.name} differs: see this module's docstring"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_transcript_is_lawful(scene: Scene) -> None:
    world = scene()
    known = plans(world.definitions.values())
    commits = [record.commit for record in world.log]
    assert check_log(world.logged(), known, reruns=True, commits=commits) == []
    assert check_effects(world.logged(), world.participants.applied, known) == []


def test_no_transcript_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {scene.__name__ for scene in SCENES}


def transcript(scene: Scene, world: World) -> str:
    intent = fill(" ".join((scene.__doc__ or "").split()), 100, initial_indent="# ", subsequent_indent="# ")
    lines = [_line(event) for event in world.logged()]
    applied = [f"  {key.removeprefix('saga/1/')}" for key in world.participants.applied]
    limits = (
        ["", "the limit:", *(_limit_line(record) for record in world.limit_log)] if world.limit_log else []
    )
    told = "\n".join([intent, "", *lines, *limits, "", "applied:", *(applied or ["  nothing"]), ""])
    for unreadable, name in names(world).items():
        told = told.replace(unreadable, name)
    return told


def _limit_line(record: LimitRecord) -> str:
    fields = loads(record.value)
    kind = record.ce_type.removeprefix("sagahook.limit.").removesuffix(".v1")
    rest = (f"{name}={_value(name, value)}" for name, value in fields.items())
    return " ".join([f"   {_moment(record.time):>8}", kind, *rest])


def _moment(time: datetime) -> str:
    return f"+{(time - BEGINNING).total_seconds():.3f}"


def _line(event: Logged) -> str:
    """`3 +0.100 step.completed charge action 1 result=…`: every field of the event's data is in its line."""
    assert event.time is not None
    fields = dict(event.data)
    if event.kind.startswith("step."):
        what = " ".join(str(fields.pop(name)) for name in ("step", "phase", "attempt") if name in fields)
    elif event.kind == "saga.started":
        what = f"{fields.pop('name')}@{fields.pop('version')}"
    else:
        what = str(fields.pop("name", ""))
    moment = _moment(event.time)
    whose = "" if event.saga_id == "saga" else f"[{event.saga_id}]"
    rest = (f"{name}={_value(name, value)}" for name, value in fields.items())
    return " ".join(
        word for word in (f"{event.sequence:>2} {moment:>8}", whose, event.kind, what, *rest) if word
    )


def _value(name: str, value: JsonValue) -> str:
    if name in ("times_out_at", "due_at", "deadline_at"):
        assert isinstance(value, str)
        return _moment(datetime.fromisoformat(value))
    return dumps(value).decode()
