"""Judges a saga log by an automaton of its own, which shares nothing with the engine, not even a name.

`check_log` reads the log as any consumer of `saga.events` does; `check_effects` holds it against what the
participants really applied. Both return the violations in words, none where all is well. The numbers in comments
are those of the design's invariants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.oracle_limits import LimitLogged, check_limit
from tests.oracle_plan import Logged, Plan, Planned, Plans, key_of, line
from tests.oracle_run import Effects, Run

Runs = dict[tuple[str, int], Run]
"""By saga and number."""

__all__ = [
    "LimitLogged",
    "Logged",
    "Plan",
    "Planned",
    "Plans",
    "check_all",
    "check_effects",
    "check_limit",
    "check_log",
    "line",
]


def check_log(
    events: Iterable[Logged | tuple[Any, ...]],
    plans: Plans | None = None,
    *,
    at_rest: bool = True,
    reruns: bool = False,
    commits: Sequence[int] = (),
) -> list[str]:
    """Every violation in the log; at most one for each run, because what follows the first means nothing.

    events: in the order of the log within each partition; records without a saga id are passed over.
    at_rest: the events are all that is committed, so that none may wait for one of its own transaction.
    reruns: whether anyone asked for further runs of a saga. commits: of each event the number of its transaction, where
    each transaction is about one saga alone: then no transaction's end may be one that the saga can't rest at.
    """
    return _follow(
        (Logged(*given) for given in events), plans, at_rest=at_rest, reruns=reruns, commits=commits
    )[0]


def check_all(
    events: Sequence[Logged],
    applied: Iterable[str],
    plans: Plans,
    *,
    reruns: bool = False,
    commits: Sequence[int] = (),
) -> list[str]:
    """What `check_log` and `check_effects` say, for what is read only once."""
    violations, runs = _follow(events, plans, at_rest=True, reruns=reruns, commits=commits)
    return violations or _hold_against(events, runs, applied)


def check_effects(
    events: Iterable[Logged | tuple[Any, ...]], applied: Iterable[str], plans: Plans | None = None
) -> list[str]:
    """Every violation of 7, and of 8 as far as effects show it. The log itself is `check_log`'s business.

    applied: the idempotency keys of the effects that participants applied, one for each time that they did.
    """
    read = [Logged(*given) for given in events]
    runs: Runs = {}
    for event in read:
        if event.saga_id:
            which = (event.saga_id, event.run)
            runs.setdefault(which, Run(*which, plans or {})).take(event)
    return _hold_against(read, runs, applied)


def _follow(
    events: Iterable[Logged], plans: Plans | None, *, at_rest: bool, reruns: bool, commits: Sequence[int]
) -> tuple[list[str], Runs]:
    runs: Runs = {}
    partitions = _Partitions()
    for at, event in enumerate(events):
        if not event.saga_id:
            continue
        partitions.take(event)
        run = runs.get((event.saga_id, event.run))
        if run is None:
            run = runs[event.saga_id, event.run] = Run(event.saga_id, event.run, plans or {})
            run.begin(runs.get((event.saga_id, event.run - 1)), reruns)
        run.take(event)
        if at < len(commits) and (at + 1 == len(commits) or commits[at + 1] != commits[at]):
            run.rest()
    if at_rest:
        for run in runs.values():
            run.rest()
    return partitions.violations + [run.violation for run in runs.values() if run.violation], runs


def _hold_against(events: Iterable[Logged], runs: Runs, applied: Iterable[str]) -> list[str]:
    scheduled: set[str] = set()
    succeeded: list[str] = []
    for event in events:
        if event.kind == "step.scheduled":
            scheduled.add(event.data["idempotency_key"])
        elif event.kind == "step.completed" and event.data["phase"] != "prepare":
            key = key_of(event, event.data["step"], event.data["phase"])
            if key in scheduled:  # what sleeps, listens or is a child has no effect of its own
                succeeded.append(key)
    violations, effects = _effects(applied, scheduled)
    for key in succeeded:
        name, step, phase = key.rsplit("/", 2)
        there = effects.get(name, set())
        # Undoing what was never done succeeds without an effect.
        if (step, phase) not in there and (phase == "action" or (step, "action") in there):
            violations.append(f"{key}: its success is in the log, but it was not applied")
    for (saga_id, number), run in runs.items():
        violations.extend(run.left_behind(effects.get(f"{saga_id}/{number}", set())))
    return violations


def _effects(applied: Iterable[str], scheduled: set[str]) -> tuple[list[str], dict[str, Effects]]:
    violations: list[str] = []
    effects: dict[str, Effects] = {}
    for key in applied:
        name, step, phase = key.rsplit("/", 2)
        there = effects.setdefault(name, set())
        if (step, phase) in there:
            violations.append(f"{key}: applied more than once")
        if key not in scheduled:
            violations.append(f"{key}: applied, but no step.scheduled was committed")
        there.add((step, phase))
    return violations, effects


@dataclass
class _Partitions:
    """3: a saga lives in one partition. 6: epochs never decrease. The owner's time never goes back."""

    violations: list[str] = field(default_factory=list)
    homes: dict[str, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    times: dict[int, datetime] = field(default_factory=dict)

    def take(self, event: Logged) -> None:
        where = event.partition
        if where is None:
            return
        name = f"{event.saga_id}/{event.run} #{event.sequence}"
        if self.homes.setdefault(event.saga_id, where) != where:
            self.violations.append(f"{name}: in partition {where}, earlier in {self.homes[event.saga_id]}")
        if event.epoch is not None:
            if event.epoch < self.epochs.get(where, 0):
                self.violations.append(f"{name}: epoch {event.epoch} after {self.epochs[where]}")
            self.epochs[where] = event.epoch
        if event.time is not None:
            if event.time < self.times.get(where, event.time):
                self.violations.append(f"{name}: its time {event.time} is before {self.times[where]}")
            self.times[where] = event.time
