"""The automaton of one saga run, by which `tests.oracle` judges a log. It shares nothing with the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

MAX_CRASHES = 3
"""So many lost attempts of one step, whose process died, must suspend the saga."""

Effects = set[tuple[str, str]]
"""What was applied for one run: steps, each with the phase."""


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


Plan = Sequence[tuple[str, bool]]
"""A definition's steps in order, each with whether it has a compensation."""

Plans = Mapping[str, Plan]
"""By `name@version`. A saga without a plan is judged by its log alone."""


class _Illegal(Exception):
    """The event cannot follow."""


ENDS = {"saga.completed": "COMPLETED", "saga.rolled_back": "ROLLED_BACK", "saga.failed": "FAILED"}

# What may come next, but for saga.joined, which may always, and saga.suspended, which may until the end.
_FOLLOWS: dict[tuple[str, str], frozenset[str]] = {
    ("nothing", ""): frozenset({"saga.started"}),
    ("saga.started", ""): frozenset({"step.scheduled", "saga.completed"}),
    ("step.scheduled", "action"): frozenset({"step.completed", "step.failed", "step.attempt_lost"}),
    ("step.scheduled", "compensation"): frozenset({"step.completed", "step.failed", "step.attempt_lost"}),
    ("step.completed", "action"): frozenset({"step.scheduled", "saga.completed"}),
    ("step.completed", "compensation"): frozenset({"step.scheduled", "saga.rolled_back"}),
    ("step.failed", "action"): frozenset({"step.retry_scheduled", "saga.compensating"}),
    ("step.failed", "compensation"): frozenset({"step.retry_scheduled", "saga.failed"}),
    ("step.attempt_lost", "action"): frozenset({"step.retry_scheduled"}),
    ("step.attempt_lost", "compensation"): frozenset({"step.retry_scheduled"}),
    ("step.retry_scheduled", "action"): frozenset({"step.scheduled"}),
    ("step.retry_scheduled", "compensation"): frozenset({"step.scheduled"}),
    ("saga.compensating", ""): frozenset({"step.scheduled", "saga.rolled_back"}),
}
_RESTS = {"step.scheduled", "step.retry_scheduled", "saga.suspended", *ENDS}
_STEP_KINDS = {kind for kind, phase in _FOLLOWS if phase}


@dataclass
class Run:
    """4: one run's automaton."""

    saga_id: str
    run: int
    plans: Plans
    violation: str = ""
    status: str = "NEW"
    sequence: int = 0
    last: tuple[str, str] = ("nothing", "")
    last_data: Mapping[str, Any] = field(default_factory=dict)
    last_time: datetime | None = None
    plan: Plan | None = None
    total: int = 0
    done: list[str] = field(default_factory=list)
    to_undo: list[str] = field(default_factory=list)
    undoable: list[str] = field(default_factory=list)
    crashes: int = 0
    uncertain: bool = False
    failed_step: str = ""
    error: str = ""
    webhooks: set[str] = field(default_factory=set)

    def begin(self, before: Run | None, reruns: bool) -> None:
        """2: one run, but those that were asked for, and these only after the last one's end."""
        if self.run == 1:
            return
        if not reruns:
            self._violated("#1", "nobody asked for a further run")
        elif before is None or before.status not in ENDS.values():
            self._violated("#1", f"it began before the end of run {self.run - 1}")

    def take(self, event: Logged) -> None:
        if self.violation:
            return
        try:
            if event.sequence != self.sequence + 1:  # 3
                raise _Illegal(f"the sequence before it is {self.sequence}")
            self.sequence = event.sequence
            if event.time is not None and self.last_time is not None and event.time < self.last_time:
                raise _Illegal(f"its time is before that of #{self.sequence - 1}")
            self.last_time = event.time
            if event.kind == "saga.joined":
                self._joined(event)
            else:
                self._advance(event)
        except _Illegal as illegal:
            self._violated(f"#{event.sequence} {event.kind}", str(illegal))
        except KeyError as missing:
            self._violated(f"#{event.sequence} {event.kind}", f"it has no field {missing}")

    def rest(self) -> None:
        """5: a transaction is visible whole, so the log never ends between an outcome and what follows it."""
        if not self.violation and self.last[0] not in _RESTS:
            self._violated(f"#{self.sequence}", f"the log ends with {self.last[0]}")

    def left_behind(self, effects: Effects) -> list[str]:
        """8: COMPLETED keeps everything, ROLLED_BACK nothing, FAILED nothing but what it says."""
        name = f"{self.saga_id}/{self.run}"
        kept = {
            step
            for step in self.undoable
            if (step, "action") in effects and (step, "compensation") not in effects
        }
        match self.status:
            case "COMPLETED":
                undone = sorted(step for step, phase in effects if phase == "compensation")
                return [f"{name}: completed, but {undone} were undone"] if undone else []
            case "ROLLED_BACK" if kept:
                return [f"{name}: rolled back, but it left behind {sorted(kept)}"]
            case "FAILED" if not kept <= set(self.to_undo):
                return [f"{name}: it left behind {sorted(kept)}, but says {self.to_undo}"]
        return []

    def _violated(self, where: str, text: str) -> None:
        if not self.violation:
            self.violation = f"{self.saga_id}/{self.run} {where}: {text}"

    def _advance(self, event: Logged) -> None:
        kind, data = event.kind, event.data
        suspends = kind == "saga.suspended" and self.status in ("EXECUTING", "COMPENSATING")
        if not suspends and kind not in _FOLLOWS.get(self.last, ()):
            raise _Illegal(f"it cannot follow {self.last[0]} while {self.status}")
        getattr(self, "_" + kind.replace(".", "_"))(event)
        self.last = (kind, data["phase"] if kind in _STEP_KINDS else "")
        self.last_data = data

    def _joined(self, event: Logged) -> None:
        if self.status == "NEW":
            raise _Illegal("there is nothing to join")
        self._same("state", event.data["state"], self.status)
        self._webhook(event.data["event_id"])

    def _webhook(self, event_id: str) -> None:
        if event_id in self.webhooks:
            raise _Illegal(f"the webhook {event_id} was answered before")
        self.webhooks.add(event_id)

    def _saga_started(self, event: Logged) -> None:
        data = event.data
        self._webhook(data["event_id"])
        self.status = "EXECUTING"
        self.total = data["total_steps"]
        self.plan = self.plans.get(f"{data['name']}@{data['version']}")
        if self.plan is not None and data["definition_hash"]:
            self._same("total_steps", self.total, len(self.plan))

    def _step_scheduled(self, event: Logged) -> None:
        data = event.data
        step, phase, attempt = self._attempt(data)
        self._same("idempotency_key", data["idempotency_key"], key_of(event, step, phase))
        self._same("phase", phase, "action" if self.status == "EXECUTING" else "compensation")
        if self.last[0] == "step.retry_scheduled":
            self._same("attempt", (step, phase, attempt), self._attempt(self.last_data))
            if event.time is not None and event.time < _moment(self.last_data["due_at"], event.time):  # 11
                raise _Illegal(f"its retry is not due before {self.last_data['due_at']}")
            return
        self._same("attempt", attempt, 1)
        self.crashes, self.uncertain = 0, False
        if phase == "compensation":
            self._same("step", step, self.to_undo[0] if self.to_undo else "none")
        elif step in self.done:
            raise _Illegal(f"{step} is already done")
        elif self.plan is not None:
            expected = self.plan[len(self.done)][0] if len(self.done) < len(self.plan) else "none"
            self._same("step", step, expected)

    def _step_completed(self, event: Logged) -> None:
        step, phase, _ = self._ends(event)
        if phase == "action":
            self.done.append(step)
        else:
            self.to_undo.remove(step)

    def _step_failed(self, event: Logged) -> None:
        self._ends(event)
        self.uncertain |= event.data.get("outcome", "failed") == "unknown"

    def _step_attempt_lost(self, event: Logged) -> None:
        self._ends(event)
        self.crashes += event.data["reason"] == "crash"
        # Only an attempt that never began certainly had no effect.
        self.uncertain |= event.data["reason"] != "never_begun"

    def _step_retry_scheduled(self, event: Logged) -> None:
        step, phase, attempt = self._attempt(self.last_data)
        self._same("attempt", self._attempt(event.data), (step, phase, attempt + 1))
        if self.last[0] == "step.attempt_lost" and self.crashes >= MAX_CRASHES:
            raise _Illegal(f"{self.crashes} processes died of {step}: it must be suspended")
        if event.time is not None and _moment(event.data["due_at"], event.time) < event.time:
            raise _Illegal("it is due before it was set")

    def _saga_compensating(self, event: Logged) -> None:
        data = event.data
        self.failed_step, self.error = data["failed_step"], data["error"]
        self._same("failed_step", self.failed_step, self.last_data["step"])
        self._same("error", self.error, self.last_data["error"])
        touched = [*self.done, *([self.failed_step] if self.uncertain else [])]
        # Without a plan only the log itself says which steps have a compensation.
        self.undoable = (
            list(data["steps"]) if self.plan is None else [step for step, undoable in self.plan if undoable]
        )
        self._same(
            "steps", list(data["steps"]), [step for step in reversed(touched) if step in self.undoable]
        )
        self.status, self.to_undo = "COMPENSATING", list(data["steps"])

    def _saga_completed(self, event: Logged) -> None:
        self._same("number of steps done", len(self.done), self.total)
        self.status = "COMPLETED"

    def _saga_rolled_back(self, event: Logged) -> None:
        self._same("steps left to undo", self.to_undo, [])
        self._same("failed_step", event.data["failed_step"], self.failed_step)
        self._same("error", event.data["error"], self.error)
        self.status = "ROLLED_BACK"

    def _saga_failed(self, event: Logged) -> None:
        self._same("unresolved", list(event.data["unresolved"]), self.to_undo)
        self._same("failed_step", event.data["failed_step"], self.failed_step)
        self.status = "FAILED"

    def _saga_suspended(self, event: Logged) -> None:
        if not event.data["reason"]:
            raise _Illegal("it gives no reason")
        self.status = "SUSPENDED"

    def _ends(self, event: Logged) -> tuple[str, str, int]:
        """The attempt that the event ends must be the one that was scheduled."""
        attempt = self._attempt(event.data)
        self._same("attempt", attempt, self._attempt(self.last_data))
        return attempt

    def _attempt(self, data: Mapping[str, Any]) -> tuple[str, str, int]:
        return data["step"], data["phase"], data["attempt"]

    def _same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            raise _Illegal(f"{what}: {found}, where {expected} must be")


def key_of(event: Logged, step: str, phase: str) -> str:
    return f"{event.saga_id}/{event.run}/{step}/{phase}"


def _moment(text: str, beside: datetime) -> datetime:
    """A time from an event's data, as exact as the envelope's time that it is compared with."""
    moment = datetime.fromisoformat(text)
    in_milliseconds = beside.microsecond % 1000 == 0
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000) if in_milliseconds else moment
