"""The automaton of one saga run, by which `tests.oracle` judges a log. It shares nothing with the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.oracle_plan import (
    Illegal,
    Logged,
    Plan,
    Plans,
    Task,
    base_of,
    ordered_by_depth,
    same,
)
from tests.oracle_steps import STEP_RULES, Steps

Effects = set[tuple[str, str]]
"""What was applied for one run: steps, each with the phase."""

ENDS = ("COMPLETED", "ROLLED_BACK", "FAILED")


@dataclass
class Run(Steps):
    """4: one run's automaton. A suspension lies over the status, which is as it was when it ends."""

    violation: str = ""
    sequence: int = 0
    last: str = "nothing"
    last_time: datetime | None = None
    total: int = 0
    name: str = ""
    child: bool = False
    called_off: bool = False
    failed_step: str = ""
    webhooks: set[str] = field(default_factory=set)
    limit: str | None = None
    held: bool = False
    deadline: str | None = None

    def begin(self, before: Run | None, reruns: bool) -> None:
        """2: one run, but those that were asked for, and these only after the last one's end."""
        if self.run == 1 or self.violation:
            return
        if not reruns:
            self._violated("#1", "nobody asked for a further run")
        elif before is not None and before.status not in ENDS:
            self._violated("#1", f"it began before the end of run {before.run}")

    def take(self, event: Logged) -> None:
        if self.violation:
            return
        try:
            if event.sequence != self.sequence + 1:  # 3
                raise Illegal(f"the sequence before it is {self.sequence}")
            self.sequence = event.sequence
            if event.time is not None and self.last_time is not None and event.time < self.last_time:
                raise Illegal(f"its time is before that of #{self.sequence - 1}")
            self.last_time = event.time
            rule = RULES.get(event.kind)
            if rule is None:
                raise Illegal(f"it cannot follow: nothing is known of {event.kind}")
            if self.called_off and event.kind not in ("saga.failing", "saga.compensating"):
                raise Illegal(f"it cannot follow {self.last}: the saga was called off")
            rule(self, event)
            self.last = event.kind
        except Illegal as illegal:
            self._violated(f"#{event.sequence} {event.kind}", str(illegal))
        except KeyError as missing:
            self._violated(f"#{event.sequence} {event.kind}", f"it has no field {missing}")

    def rest(self) -> None:
        """5: a transaction is visible whole, so the log never ends between an outcome and what follows it."""
        if self.violation or self.suspended is not None:
            return
        wrong = self.unfinished()
        if wrong or self.called_off:
            self._violated(f"#{self.sequence}", f"the log ends with {self.last}: {wrong or 'called off'}")

    def left_behind(self, effects: Effects) -> list[str]:
        """8: COMPLETED keeps everything, ROLLED_BACK nothing, FAILED nothing but what it says."""
        name = f"{self.saga_id}/{self.run}"
        undone = {step for step, phase in effects if phase == "compensation"} | self.undone_by_hand
        kept = {step for step, phase in effects if phase == "action" and self.can_undo(step)} - undone
        match self.status:
            case "COMPLETED":
                told = sorted(step for step, phase in effects if phase == "compensation")
                return [f"{name}: completed, but {told} were undone"] if told else []
            case "ROLLED_BACK" if kept:
                return [f"{name}: rolled back, but it left behind {sorted(kept)}"]
            case "FAILED" if not kept <= {*self.to_undo, *self.abandoned}:
                return [f"{name}: it left behind {sorted(kept)}, but says {self.to_undo}"]
        return []

    def _violated(self, where: str, text: str) -> None:
        if not self.violation:
            self.violation = f"{self.saga_id}/{self.run} {where}: {text}"

    def _webhook(self, event_id: str) -> None:
        if event_id in self.webhooks:
            raise Illegal(f"the webhook {event_id} was answered before")
        self.webhooks.add(event_id)

    # -- the saga as a whole --------------------------------------------------------------------------------

    def joined(self, event: Logged) -> None:
        if self.status == "NEW":
            raise Illegal("there is nothing to join")
        seen = "SUSPENDED" if self.suspended is not None else self.status
        same("state", event.data["state"], seen)
        self._webhook(event.data["event_id"])

    def noted(self, event: Logged) -> None:
        if self.status == "NEW":
            raise Illegal("it cannot follow nothing")

    def started(self, event: Logged) -> None:
        data = event.data
        self._must_be("NEW")
        self._webhook(data["event_id"])
        self.limit, self.deadline = data.get("limit_key"), data.get("deadline_at")
        self.held = data.get("held") is not None
        self.status = "PENDING" if self.held or self.limit is not None else "EXECUTING"
        self.total, self.name = data["total_steps"], data["name"]
        self.child = data.get("parent") is not None
        self.plan = self.plans.get(f"{data['name']}@{data['version']}")
        if self.plan is not None and data["definition_hash"] and not self.plan.by_code:
            same("total_steps", self.total, len(self.plan.steps))

    def let_go(self, event: Logged) -> None:
        same("status", self.status, "PENDING")
        if not self.held:
            raise Illegal("nothing held it")
        self.held = False
        self.status = "PENDING" if self.limit is not None else "EXECUTING"

    def admitted(self, event: Logged) -> None:
        same("status", self.status, "PENDING")
        if self.held:
            raise Illegal("it is held")
        same("limit_key", event.data["limit_key"], self.limit)
        self.status = "EXECUTING"

    def suspend(self, event: Logged) -> None:
        if self.status == "NEW" or self.status in ENDS or self.suspended is not None:
            raise Illegal(f"it cannot follow {self.last} while {self.status}")
        if not event.data["reason"]:
            raise Illegal("it gives no reason")
        cause = event.data.get("cause") or "unknown"
        if cause == "engine":
            raise Illegal(f"the engine could not follow itself: {event.data['reason']}")
        if cause == "forward" and self.plan is not None and not self.past_pivot():
            raise Illegal("nothing that was done forbids undoing")
        self.suspended = cause

    def resumed(self, event: Logged) -> None:
        if self.suspended is None:
            raise Illegal("it is not suspended")
        if self.suspended == "forward":
            self.failing = False
        self.wake_up()

    def cancelled(self, event: Logged) -> None:
        if self.status not in ("PENDING", "EXECUTING"):
            raise Illegal(f"it cannot follow while {self.status}")
        if self.plan is not None and self.past_pivot():
            raise Illegal("it is past its pivot")
        self.suspended, self.called_off = None, True

    def told_signal(self, event: Logged) -> None:
        if self.status == "NEW" or self.status in ENDS:
            raise Illegal(f"it cannot follow while {self.status}")
        if event.data["signal_id"] in self.signal_ids:
            raise Illegal(f"the signal {event.data['signal_id']} was taken before")
        self.signal_ids.add(event.data["signal_id"])
        self.signals.append((event.data["signal"], event.data.get("payload")))

    def migrated(self, event: Logged) -> None:
        if self.status == "NEW" or self.status in ENDS:
            raise Illegal(f"it cannot follow while {self.status}")
        self.plan = self.plans.get(f"{self.name}@{event.data['version']}")
        if self.plan is not None:
            self.total = len(self.plan.steps)

    def fails(self, event: Logged) -> None:
        self._must_be("EXECUTING")
        if self.failing or not any(task.cannot_be_recalled for task in self.tasks.values()):
            raise Illegal("nothing is under way that must be waited for")
        self._not_past_pivot()
        self._names_its_cause(event.data)
        self.failing, self.called_off = True, False
        self.settle()

    def compensates(self, event: Logged) -> None:
        data = event.data
        undone_child = self.status == "COMPLETED" and self.child
        if not undone_child:
            self._must_be("PENDING", "EXECUTING")
            self._names_its_cause(data)
        if any(task.cannot_be_recalled for task in self.tasks.values()):
            raise Illegal("it is not settled: something is under way")
        self._not_past_pivot()
        self.settle()
        steps = list(data["steps"])
        if self.plan is not None:
            same("steps", sorted(steps), sorted(self.touched()))
            if not self.plan.by_code and not ordered_by_depth(steps, self.plan):
                raise Illegal(f"steps: {steps} is not against the order of doing")
        else:
            allowed = [step for step in self.touched() if step in steps]
            same("steps", sorted(steps), sorted(allowed))
            self.undoable = set(steps)
        if self.plan is None or self.plan.by_code:
            same("steps", steps, [step for step in reversed(list(self.everything())) if step in steps])
        self.failed_step, self.error = data["failed_step"], data["error"]
        self.status, self.to_undo = "COMPENSATING", steps
        self.failing = self.called_off = False

    def completes(self, event: Logged) -> None:
        self._must_be("EXECUTING")
        if self.tasks or self.failing:
            raise Illegal("it is not done: something is under way")
        if self.plan is None or not self.plan.by_code:
            same("number of steps done", len(self.done) + len(self.skipped), self.total)
        self.status = "COMPLETED"

    def rolls_back(self, event: Logged) -> None:
        self._must_be("COMPENSATING")
        same("steps left to undo", [*self.to_undo, *self.abandoned], [])
        same("failed_step", event.data["failed_step"], self.failed_step)
        same("error", event.data["error"], self.error)
        self.status = "ROLLED_BACK"

    def gives_up(self, event: Logged) -> None:
        self._must_be("COMPENSATING")
        if any(task.way != "ended" for task in self.tasks.values()):
            raise Illegal(f"it cannot follow {self.last}: a compensation is under way")
        stuck = bool(self.tasks)
        if not stuck and (self.to_undo or not self.abandoned):
            raise Illegal(f"it cannot follow {self.last}: no compensation failed for good")
        same("unresolved", list(event.data["unresolved"]), [*self.to_undo, *self.abandoned])
        same("failed_step", event.data["failed_step"], self.failed_step)
        self.status = "FAILED"

    def resolved(self, event: Logged) -> None:
        step, how = event.data["step"], event.data["how"]
        stuck = self.status == "FAILED" or (self.status == "COMPENSATING" and self.suspended is not None)
        if not stuck or step not in self.to_undo:
            raise Illegal(f"no compensation of {step} is left behind")
        if how != "retry":
            self.tasks.pop(step, None)
            self.to_undo.remove(step)
            (self.abandoned.append if how == "skip" else self.undone_by_hand.add)(step)
        self.status = "COMPENSATING"
        if self.suspended is not None:
            self.wake_up()
        elif step in self.tasks:
            self.tasks[step].may_go_on, self.tasks[step].crashes = True, 0

    def released(self, event: Logged) -> None:
        if not self.child or self.status not in ("COMPLETED", "ROLLED_BACK"):
            raise Illegal(f"it cannot follow while {self.status}")
        self.child = False

    def _not_past_pivot(self) -> None:
        if self.plan is not None and self.past_pivot():
            raise Illegal("nothing is undone past a pivot")

    def _names_its_cause(self, data: Mapping[str, Any]) -> None:
        """The step that failed for good, or nobody's step when the run was called off."""
        if self.failing:
            same("failed_step", data["failed_step"], self.failed_step)
            same("error", data["error"], self.error)
        elif data["failed_step"]:
            task = self.tasks.get(data["failed_step"])
            if task is None or task.way != "ended":
                raise Illegal(f"it cannot follow {self.last}: {data['failed_step']} did not fail")
            same("error", data["error"], task.error)
        elif self.last == "step.failed":
            raise Illegal("failed_step: nobody's, where that of the failure must be")
        self.failed_step, self.error = data["failed_step"], data["error"]


Rule = Callable[[Run, Logged], None]

RULES: dict[str, Rule] = {
    **STEP_RULES,
    "saga.started": Run.started,
    "saga.joined": Run.joined,
    "saga.command_refused": Run.noted,
    "saga.progressed": Run.noted,
    "saga.let_go": Run.let_go,
    "saga.admitted": Run.admitted,
    "saga.suspended": Run.suspend,
    "saga.resumed": Run.resumed,
    "saga.cancelled": Run.cancelled,
    "saga.signalled": Run.told_signal,
    "saga.migrated": Run.migrated,
    "saga.failing": Run.fails,
    "saga.compensating": Run.compensates,
    "saga.completed": Run.completes,
    "saga.rolled_back": Run.rolls_back,
    "saga.failed": Run.gives_up,
    "saga.released": Run.released,
    "step.compensation_resolved": Run.resolved,
}

__all__ = ["ENDS", "Effects", "Logged", "Plan", "Plans", "Run", "Task", "base_of"]
