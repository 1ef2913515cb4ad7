"""What the oracle knows of a definition, and what it remembers of a step that is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

MAX_CRASHES = 3
"""So many lost attempts of one step, whose process died, must suspend the saga."""


class Illegal(Exception):
    """The event cannot follow."""


class Logged(NamedTuple):
    """One event as it stands in the log. type: `sagahook.saga.started.v1`, or without prefix and version.

    What is not known may be left out, and is then not judged: time, partition, epoch of the envelope.
    """

    saga_id: str
    run: int
    sequence: int
    type: str
    data: Mapping[str, Any]
    time: datetime | None = None
    partition: int | None = None
    epoch: int | None = None

    @property
    def kind(self) -> str:
        return self.type.removeprefix("sagahook.").removesuffix(".v1")


@dataclass(frozen=True)
class Planned:
    """One step of a plan. after: the steps that must be done or skipped before it begins."""

    name: str
    undoable: bool = True
    after: tuple[str, ...] = ()
    does: str = "action"
    prepares: bool = False
    pivot: bool = False
    at_once: int | None = None
    goes_on_without_signal: bool = False


@dataclass(frozen=True)
class Plan:
    """A definition in the oracle's words. parallel: compensations of one level run at once. by_code: a function asks
    for its steps, so that the log alone tells them."""

    steps: Mapping[str, Planned]
    parallel: bool = False
    by_code: bool = False
    depth: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.steps:
            self.depth[name] = self._depth(name)

    def _depth(self, name: str) -> int:
        return max((self._depth(before) + 1 for before in self.steps[name].after), default=0)


Plans = Mapping[str, Plan]
"""By `name@version`. A saga without a plan is judged by its log alone."""


def line(*steps: tuple[str, bool]) -> Plan:
    """Steps one after the other, each with whether it can be undone."""
    names = [name for name, _ in steps]
    return Plan(
        {
            name: Planned(name, undoable, tuple(names[max(0, at - 1) : at]))
            for at, (name, undoable) in enumerate(steps)
        }
    )


@dataclass
class Task:
    """A step, or an item of one, in one of its phases.

    way: `runs`; `ended` without success; `due`, its next attempt has a time; `sleeps`; `listens` for a signal;
    `child`; `items`.
    """

    step: str
    phase: str
    way: str
    attempt: int = 1
    due: str | None = None
    crashes: int = 0
    unknown: bool = False
    error: str = ""
    signal: str = ""
    may_go_on: bool = False

    @property
    def cannot_be_recalled(self) -> bool:
        return self.way in ("runs", "child")


def base_of(step: str) -> str:
    return step.split("[", 1)[0]


def number_of(step: str) -> int | None:
    return int(step[step.index("[") + 1 : -1]) if step.endswith("]") else None


def same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Illegal(f"{what}: {found}, where {expected} must be")


def on_time(what: str, due: str | None, now: datetime | None) -> None:
    """11: nothing happens before its time."""
    if due is not None and now is not None and now < moment(due, now):
        raise Illegal(f"{what} is not due before {due}")


def not_past(due: str, now: datetime | None) -> None:
    if now is not None and moment(due, now) < now:
        raise Illegal("it is due before it was set")


def key_of(event: Logged, step: str, phase: str) -> str:
    return f"{event.saga_id}/{event.run}/{step}/{phase}"


def moment(text: str, beside: datetime) -> datetime:
    """A time from an event's data, as exact as the envelope's time that it is compared with."""
    found = datetime.fromisoformat(text)
    in_milliseconds = beside.microsecond % 1000 == 0
    return found.replace(microsecond=found.microsecond // 1000 * 1000) if in_milliseconds else found


def ordered_by_depth(steps: Sequence[str], plan: Plan) -> bool:
    depths = [plan.depth.get(base_of(step), 0) for step in steps]
    return depths == sorted(depths, reverse=True)
