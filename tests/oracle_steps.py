"""The rules of a run's steps, in the oracle's words: when each may begin, what may become of it, what is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.oracle_plan import (
    MAX_CRASHES,
    Illegal,
    Logged,
    Plan,
    Planned,
    Plans,
    Task,
    base_of,
    key_of,
    not_past,
    number_of,
    on_time,
    same,
)


@dataclass
class Steps:
    """done: in the order of completion, of a step that has items as they are done. unknown: ended without a known
    success, but possibly applied. abandoned: what an operator left behind."""

    saga_id: str
    run: int
    plans: Plans
    status: str = "NEW"
    suspended: str | None = None
    failing: bool = False
    error: str = ""
    plan: Plan | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    done: dict[str, None] = field(default_factory=dict)
    items_done: dict[str, None] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    said: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    to_undo: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    undone_by_hand: set[str] = field(default_factory=set)
    undoable: set[str] = field(default_factory=set)
    signals: list[tuple[str, Any]] = field(default_factory=list)
    signal_ids: set[str] = field(default_factory=set)

    # -- what follows from all steps ------------------------------------------------------------------------

    def planned(self, step: str) -> Planned | None:
        """None where nothing is known of any step. A step that a plan lacks is illegal."""
        if self.plan is None or self.plan.by_code:
            return None
        found = self.plan.steps.get(base_of(step))
        if found is None:
            raise Illegal(f"there is no step {step}")
        return found

    def can_undo(self, step: str) -> bool:
        planned = self.plan.steps.get(base_of(step)) if self.plan is not None else None
        return step in self.undoable if planned is None else planned.undoable

    def everything(self) -> Iterator[str]:
        """What was done or may have been, items one by one, in the order in which they ended."""
        order: dict[str, None] = {}
        for step in self.done:
            of_items = [item for item in self.items_done if base_of(item) == step]
            order |= dict.fromkeys(of_items if step in self.items else [step])
        order |= self.items_done
        order |= self.unknown
        return iter(order)

    def touched(self) -> list[str]:
        return [
            step
            for step in self.everything()
            if self.plan is None or self.plan.by_code or self.can_undo(step)
        ]

    def past_pivot(self) -> bool:
        maybe = [task.step for task in self.tasks.values() if task.unknown and task.phase == "action"]
        steps = {base_of(step) for step in [*self.done, *self.everything(), *maybe]}
        return (
            any(self.plan.steps[step].pivot for step in steps if step in self.plan.steps)
            if self.plan
            else False
        )

    def settle(self) -> None:
        """Nothing more begins: what only waits is dropped, and what may have been applied is remembered."""
        for step, task in list(self.tasks.items()):
            if not task.cannot_be_recalled:
                del self.tasks[step]
                if task.unknown and task.phase == "action":
                    self.unknown[step] = None

    def wake_up(self) -> None:
        self.suspended = None
        for task in self.tasks.values():
            if task.way == "ended":
                task.may_go_on, task.crashes = True, 0

    def unfinished(self) -> str:
        """14: what a transaction that ends here forgot; "" where nothing."""
        ended = [task.step for task in self.tasks.values() if task.way == "ended"]
        active = any(task.cannot_be_recalled for task in self.tasks.values())
        if self.status == "EXECUTING" and self.failing:
            return "" if active else "it is settled, and nothing is undone"
        if self.status == "EXECUTING" and not ended:
            return self._not_begun()
        if self.status == "COMPENSATING" and not ended:
            return self._not_undone() if self.tasks else "nothing goes on"
        # A compensation that failed for good waits for those beside it to end.
        waits = self.status != "EXECUTING" and len(ended) < len(self.tasks)
        stuck = ended and self.status in ("EXECUTING", "COMPENSATING") and not waits
        return f"nothing follows from the end of {ended[0]}" if stuck else ""

    def _not_begun(self) -> str:
        if self.plan is None or self.plan.by_code:
            known = self.plan is None and not self.tasks
            return "nothing goes on" if known else ""
        for step in self.plan.steps.values():
            ready = all(before in self.done or before in self.skipped for before in step.after)
            begun = step.name in self.tasks or step.name in self.done or step.name in self.skipped
            if ready and not begun:
                return f"{step.name} may begin, and does not"
        return "" if self.tasks else "everything is done, and it is not completed"

    def _not_undone(self) -> str:
        if self.plan is None or not self.plan.parallel:
            return ""
        level = max(self.plan.depth.get(base_of(step), 0) for step in self.to_undo)
        missing = [
            step
            for step in self.to_undo
            if self.plan.depth.get(base_of(step), 0) == level and step not in self.tasks
        ]
        return f"{missing[0]} may be undone at once, and is not" if missing else ""

    # -- attempts -------------------------------------------------------------------------------------------

    def scheduled(self, event: Logged) -> None:
        step, phase, attempt = attempt_of(event.data)
        same("idempotency_key", event.data["idempotency_key"], key_of(event, step, phase))
        self._must_go_on(phase)
        task = self.tasks.get(step)
        if task is not None and attempt > 1:
            self._again(task, phase, attempt, event)
            return
        if task is not None:
            raise Illegal(f"it cannot follow: {step} is under way")
        same("attempt", attempt, 1)
        if phase == "compensation":
            self._may_undo(step)
        else:
            self._may_begin(step, phase)
        self.tasks[step] = Task(step, phase, "runs")

    def _again(self, task: Task, phase: str, attempt: int, event: Logged) -> None:
        same("phase", phase, task.phase)
        if task.way == "due":
            same("attempt", (task.step, phase, attempt), (task.step, task.phase, task.attempt))
            on_time("its retry", task.due, event.time)
        elif task.way == "ended" and task.may_go_on:
            same("attempt", attempt, task.attempt + 1)
        else:
            raise Illegal(f"it cannot follow: {task.step} {task.way}")
        if phase != "compensation" and self.planned(task.step) is not None:
            self._is_code(task.step, phase)
        task.way, task.attempt, task.may_go_on = "runs", attempt, False

    def _must_go_on(self, phase: str) -> None:
        self._must_be("COMPENSATING" if phase == "compensation" else "EXECUTING")
        if self.failing:
            raise Illegal("it cannot follow: the saga fails, and nothing more begins")

    def _must_be(self, *statuses: str) -> None:
        if self.suspended is not None or self.status not in statuses:
            status = "SUSPENDED" if self.suspended is not None else self.status
            raise Illegal(f"it cannot follow {getattr(self, 'last', '')} while {status}")

    def _may_begin(self, step: str, phase: str) -> None:
        base = base_of(step)
        if step in self.done or step in self.items_done or step in self.skipped:
            raise Illegal(f"{step} is already done")
        if base != step:
            self._may_begin_item(step, base)
            return
        planned = self.planned(step)
        if planned is None:
            return
        for before in planned.after:
            if before not in self.done and before not in self.skipped:
                raise Illegal(f"step: {step}, where {before} must be done before it")
        self._is_code(step, phase)
        if planned.prepares and phase != "prepare" and step not in self.said:
            raise Illegal(f"{step} begins without its preparation")
        if planned.prepares and phase != "prepare" and "skip" in (self.said[step] or {}):
            raise Illegal(f"{step} is not wanted")

    def _is_code(self, step: str, phase: str) -> None:
        """Only code is attempted: nothing but time makes a sleep pass, and nobody runs a child for its parent."""
        planned = self.planned(step)
        if planned is None or phase == "":
            return
        if phase == "prepare":
            same("prepares", planned.prepares, True)
        elif planned.does not in ("action", "participant") and base_of(step) == step:
            raise Illegal(f"an attempt at {step}, which is a {planned.does}")

    def _may_begin_item(self, step: str, base: str) -> None:
        owner, number = self.tasks.get(base), number_of(step)
        if owner is None or owner.way != "items" or number is None or number >= self.items[base]:
            raise Illegal(f"there is no item {step}")
        planned = self.planned(base)
        at_once = sum(base_of(task) == base != task for task in self.tasks)
        if planned is not None and planned.at_once is not None and at_once >= planned.at_once:
            raise Illegal(f"{at_once} items of {base} are under way already")

    def _may_undo(self, step: str) -> None:
        if step not in self.to_undo:
            raise Illegal(f"step: {step}, where one of {self.to_undo} must be")
        if any(task.way == "ended" and not task.may_go_on for task in self.tasks.values()):
            raise Illegal("a compensation failed for good: nothing more is undone")
        if self.plan is not None and self.plan.parallel:
            depth = self.plan.depth
            deepest = max(depth.get(base_of(each), 0) for each in self.to_undo)
            same("level", depth.get(base_of(step), 0), deepest)
        else:
            same("step", step, self.to_undo[0])

    def completed(self, event: Logged) -> None:
        step, phase, attempt = attempt_of(event.data)
        task = self._under_way(step, phase, attempt)
        result = event.data.get("result")
        self._may_be_complete(task, event)
        del self.tasks[step]
        if phase == "compensation":
            self.to_undo.remove(step)
        elif phase == "prepare":
            self.said[step] = result
        elif step != base_of(step):
            self.items_done[step] = None
            self.unknown.pop(step, None)
        else:
            self.done[step] = None
            self.unknown.pop(step, None)

    def _may_be_complete(self, task: Task, event: Logged) -> None:
        match task.way:
            case "sleeps":
                on_time("its end", task.due, event.time)
            case "listens":
                self._takes_signal(task, event)
            case "items":
                missing = [
                    number
                    for number in range(self.items[task.step])
                    if f"{task.step}[{number}]" not in self.items_done
                ]
                same("items left", missing, [])
            case "ended" | "due":
                raise Illegal(f"it cannot follow: {task.step} is {task.way}")

    def _takes_signal(self, task: Task, event: Logged) -> None:
        there = next((each for each in self.signals if each[0] == task.signal), None)
        if there is not None:
            same("result", event.data.get("result"), there[1])
            self.signals.remove(there)
            return
        planned = self.planned(task.step)
        if task.due is None or (planned is not None and not planned.goes_on_without_signal):
            raise Illegal(f"no signal {task.signal} is there")
        on_time("its end", task.due, event.time)

    def failed(self, event: Logged) -> None:
        task = self._under_way(*attempt_of(event.data))
        if task.way == "listens":
            on_time("its time-out", task.due, event.time)
            same("signals", [each for each in self.signals if each[0] == task.signal], [])
            if task.due is None:
                raise Illegal("it has no time-out")
        elif not task.cannot_be_recalled:
            raise Illegal(f"it cannot follow: {task.step} is {task.way}")
        task.way, task.error = "ended", event.data["error"]
        task.unknown |= event.data.get("outcome", "failed") == "unknown"

    def lost(self, event: Logged) -> None:
        task = self._under_way(*attempt_of(event.data))
        same("way", task.way, "runs")
        task.way = "ended"
        task.crashes += event.data["reason"] == "crash"
        # Only an attempt that never began certainly had no effect.
        task.unknown |= event.data["reason"] != "never_begun"

    def retry_scheduled(self, event: Logged) -> None:
        step, phase, attempt = attempt_of(event.data)
        self._must_go_on(phase)
        task = self.tasks.get(step)
        if task is None or task.way != "ended":
            raise Illegal(f"it cannot follow: {step} did not fail")
        same("attempt", (step, phase, attempt), (step, task.phase, task.attempt + 1))
        if task.crashes >= MAX_CRASHES:
            raise Illegal(f"{task.crashes} processes died of {step}: it must be suspended")
        not_past(event.data["due_at"], event.time)
        if phase != "compensation":
            self._is_code(step, phase)
        task.way, task.attempt, task.due = "due", attempt, event.data["due_at"]

    def continued(self, event: Logged) -> None:
        task = self._under_way(*attempt_of(event.data))
        same("way", task.way, "runs")
        not_past(event.data["due_at"], event.time)
        task.way, task.attempt, task.due = "due", task.attempt + 1, event.data["due_at"]
        task.crashes, task.unknown = 0, True

    def _under_way(self, step: str, phase: str, attempt: int) -> Task:
        """The attempt that the event ends must be the one that was scheduled."""
        task = self.tasks.get(step)
        if task is None or self.status in ("NEW", "COMPLETED", "ROLLED_BACK", "FAILED"):
            raise Illegal(f"it cannot follow {getattr(self, 'last', '')}: {step} is not under way")
        same("attempt", (step, phase, attempt), (step, task.phase, task.attempt))
        return task

    # -- what is no attempt ---------------------------------------------------------------------------------

    def skips(self, event: Logged) -> None:
        step = event.data["step"]
        self._begins(step, None)
        if self.planned(step) is not None and "skip" not in (self.said.get(step) or {}):
            raise Illegal(f"nobody said that {step} is not wanted")
        self.skipped.add(step)

    def sleeps(self, event: Logged) -> None:
        not_past(event.data["due_at"], event.time)
        self._begins(event.data["step"], "sleep").due = event.data["due_at"]

    def listens(self, event: Logged) -> None:
        task = self._begins(event.data["step"], "signal")
        task.due, task.signal = event.data.get("due_at"), event.data["signal"]

    def asks_child(self, event: Logged) -> None:
        if not event.data["child_id"]:
            raise Illegal("the child has no id")
        self._begins(event.data["step"], "child")

    def expands(self, event: Logged) -> None:
        step = event.data["step"]
        self.items[step] = len(event.data["items"])
        self._begins(step, "each")

    def declared(self, event: Logged) -> None:
        self._must_go_on("action")
        if event.data["definition"].get("compensation") or event.data["definition"].get("does") == "child":
            self.undoable.add(event.data["definition"]["name"])

    def _begins(self, step: str, does: str | None) -> Task:
        """A failed one that waited may begin again when an operator says so."""
        self._must_go_on("action")
        before = self.tasks.get(step)
        if before is not None and not (before.way == "ended" and before.may_go_on):
            raise Illegal(f"it cannot follow: {step} is under way")
        planned = self.planned(step)
        if planned is not None and does is not None:
            same("does", does, planned.does)
            self._may_begin(step, "")
        ways = {"sleep": "sleeps", "signal": "listens", "child": "child", "each": "items"}
        task = Task(step, "action", ways.get(does or "", "runs"))
        if before is not None:
            task.unknown = before.unknown
        if does is not None:
            self.tasks[step] = task
        return task


def attempt_of(data: Mapping[str, Any]) -> tuple[str, str, int]:
    return data["step"], data["phase"], data["attempt"]


STEP_RULES: dict[str, Callable[[Any, Logged], None]] = {
    "step.scheduled": Steps.scheduled,
    "step.completed": Steps.completed,
    "step.failed": Steps.failed,
    "step.attempt_lost": Steps.lost,
    "step.retry_scheduled": Steps.retry_scheduled,
    "step.continued": Steps.continued,
    "step.skipped": Steps.skips,
    "step.sleeping": Steps.sleeps,
    "step.awaiting": Steps.listens,
    "step.child_requested": Steps.asks_child,
    "step.expanded": Steps.expands,
    "step.declared": Steps.declared,
}
