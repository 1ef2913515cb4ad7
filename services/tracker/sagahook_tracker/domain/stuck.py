"""Work that does not go on by itself, or should have gone on by now; and what to do about each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from shlex import quote
from typing import Literal

from sagahook_schemas.definitions import TIMEOUTS, SagaDefinition
from sagahook_schemas.envelope import parse_rfc3339
from sagahook_tracker.domain.runs import FINAL, Run, Step

Kind = Literal["failed", "suspended", "overdue", "held"]

KINDS: tuple[Kind, ...] = ("failed", "suspended", "overdue", "held")

GRACE = timedelta(seconds=60)
"""How long after its time something may still come: a runner that starts anew, a broker that was away."""

_RUNNING = frozenset({"preparing", "running", "compensating"})


@dataclass(frozen=True, slots=True)
class Next:
    """What a person does next. command: for a terminal; call: the same over HTTP, None where there is no such call."""

    what: str
    command: str
    call: str | None = None


@dataclass(frozen=True, slots=True)
class Stuck:
    """since: when it came to be so, or when it should have gone on."""

    kind: Kind
    run: Run
    since: datetime
    why: str
    next: Next


def judged(
    run: Run, definition: SagaDefinition | None, now: datetime, held: str | None = None
) -> Stuck | None:
    """None: it is final and well, or goes on in its time.

    definition: the version that the run is of, where it is known. held: what is paused, where a pause holds the run:
    `definition order` or `source shop`.
    """
    updated = run.updated_at or run.started_at or now
    if run.state == "FAILED":
        return _failed(run, updated) if run.unresolved else None
    if run.state == "SUSPENDED":
        return Stuck("suspended", run, updated, run.reason or "it cannot go on by itself", _after(run))
    if run.state in FINAL:
        return None
    if held is not None:
        return Stuck("held", run, updated, f"a pause of {held} holds it", _resume(held))
    return _overdue(run, definition, now)


def held_by(run: Run, paused: Collection[tuple[str, str]]) -> str | None:
    """`definition order` or `source shop`; None where nothing holds it, or its pause has ended: then it is let go in a
    moment. paused: kinds and names."""
    if not (run.held and run.state == "PENDING"):
        return None
    for kind, name in (("definition", run.name), ("source", run.source)):
        if (kind, name) in paused:
            return f"{kind} {name}"
    return None


def _failed(run: Run, updated: datetime) -> Stuck:
    left = ", ".join(run.unresolved)
    step = run.unresolved[0]
    how = Next(
        "undo it by hand and say so (resolve), have it tried again (retry), or leave it (skip)",
        f"sagahook sagas resolve {run.saga_id} --step {quote(step)} --how retry",
        f"POST /api/v1/sagas/{run.saga_id}/compensations/{step}:retry",
    )
    return Stuck("failed", run, updated, f"the effects of {left} are left behind: {run.error or '?'}", how)


def _after(run: Run) -> Next:
    """See docs/reference/operating.md."""
    retry = f"sagahook sagas retry {run.saga_id}", f"POST /api/v1/sagas/{run.saga_id}:retry"
    if run.cause == "definition":
        what = f"deploy {run.name} {run.version} again: it goes on by itself; or migrate it to a version that is there"
        return Next(what, f"sagahook sagas show {run.saga_id}", f"POST /api/v1/sagas/{run.saga_id}:migrate")
    what = {
        "forward": "mend the reason, then let it go on",
        "losses": "find out in the runner's log why its process died, then let it go on",
        "order": "deploy the code that fits its history, then let it go on",
        "engine": "this is a fault of ours: keep its log and tell us",
    }.get(run.cause or "", "mend the reason, then let it go on")
    if run.cause == "engine":
        return Next(what, f"sagahook history {run.saga_id}")
    return Next(what, *retry)


def _resume(held: str) -> Next:
    kind, _, name = held.partition(" ")
    return Next(
        "end the pause when what it was for is over",
        f"sagahook {kind}s resume {quote(name)}",
        f"POST /api/v1/{kind}s/{name}:resume",
    )


def _overdue(run: Run, definition: SagaDefinition | None, now: datetime) -> Stuck | None:
    expected = expected_by(run, definition)
    if expected is None or now <= expected[0] + GRACE:
        return None
    at, why = expected
    look = Next(
        "see whether a runner owns its partition and keeps up; if it does, look into its log for this saga",
        "sagahook doctor",
        f"GET /webhooks/status/{run.saga_id}",
    )
    return Stuck("overdue", run, at, why, look)


def expected_by(run: Run, definition: SagaDefinition | None) -> tuple[datetime, str] | None:
    """When the run's log has a further event at the latest, and why; None where nobody can say: it waits for its turn
    in a limit, for a signal without an end, or for a child."""
    times = list(_times(run, definition))
    return min(times, default=None)


def _times(run: Run, definition: SagaDefinition | None) -> Iterator[tuple[datetime, str]]:
    if run.deadline_at is not None and not run.undoing:
        yield run.deadline_at, "its deadline is past"
    if run.state == "PENDING" or run.updated_at is None:
        return
    opened = [step for step in run.steps if step.status in _RUNNING or step.due_at is not None]
    for step in opened:
        if step.due_at is not None:
            yield parse_rfc3339(step.due_at), f"the step {step.name} should have gone on by itself"
        elif step.child_id is None and not _has_items(run, step):
            patience = timedelta(seconds=_patience(step, definition))
            yield run.updated_at + patience, f"the step {step.name} has no outcome, and its time-out is past"
    if not opened and not any(step.status == "waiting" for step in run.steps):
        yield run.updated_at, "no step is under way, and nothing began another"


def _has_items(run: Run, step: Step) -> bool:
    return any(each.name.startswith(f"{step.name}[") for each in run.steps)


def _patience(step: Step, definition: SagaDefinition | None) -> float:
    """Seconds for one attempt, by the definition: any change of the run is later than the attempt's start."""
    name = step.name.partition("[")[0]
    known = definition.by_name.get(name) if definition is not None else None
    if known is None:
        return max(TIMEOUTS.values())
    if step.status == "compensating":
        return known.compensation.timeout if known.compensation is not None else known.timeout
    return known.timeout
