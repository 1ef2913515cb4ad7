"""A definition as a Mermaid flowchart, and where a run got to in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Literal

from sagahook_schemas.definitions import Does, SagaDefinition, StepDefinition
from sagahook_tracker.domain.runs import Run, Step, StepStatus

Trail = Literal["done", "failed", "compensated", "skipped", "running", "waiting"]

_SHAPES: dict[Does, tuple[str, str]] = {
    "action": ("[", "]"),
    "sleep": ("([", "])"),
    "signal": ("{{", "}}"),
    "child": ("[[", "]]"),
    "each": ("[/", "/]"),
    "participant": ("[(", ")]"),
}

_TRAILS: dict[StepStatus, Trail] = {
    "preparing": "running",
    "running": "running",
    "waiting": "waiting",
    "retrying": "running",
    "completed": "done",
    "skipped": "skipped",
    "failed": "failed",
    "cancelled": "skipped",
    "compensating": "running",
    "compensated": "compensated",
    "compensation_failed": "failed",
}

_COLOURS: dict[str, str] = {
    "done": "fill:#d3f9d8,stroke:#2b8a3e,color:#000",
    "failed": "fill:#ffe3e3,stroke:#c92a2a,color:#000",
    "compensated": "fill:#fff3bf,stroke:#e67700,color:#000",
    "skipped": "fill:#f1f3f5,stroke:#868e96,color:#495057",
    "running": "fill:#d0ebff,stroke:#1971c2,color:#000",
    "waiting": "fill:#e5dbff,stroke:#6741d9,color:#000",
    "pivot": "stroke-width:4px",
}


def mermaid(
    definition: SagaDefinition, run: Run | None = None, took: Mapping[str, timedelta] | None = None
) -> str:
    """Steps point at those that come after them; a dashed line goes to each step's compensation. With a run, its trail
    is told as classes and on the nodes, and steps that the definition does not have (a function's) stand in the order
    they came in. took: how long each step took, where that is known."""
    steps = [*definition.steps, *_further(definition, run)]
    trail = _Trail(run, took or {})
    ids = {step.name: f"s{number}" for number, step in enumerate(steps)}
    predecessors = dict(definition.predecessors)
    for before, step in pairwise(steps):
        predecessors.setdefault(step.name, (before.name,))
    lines = [
        "flowchart TD",
        *(_node(ids[step.name], step, trail) for step in steps),
        *_edges(ids, predecessors),
        *(line for step in steps for line in _compensation(ids[step.name], step, trail)),
        *_classes(ids, steps, run),
    ]
    return "".join(f"{line}\n" if line == lines[0] else f"    {line}\n" for line in lines)


def _further(definition: SagaDefinition, run: Run | None) -> Iterator[StepDefinition]:
    like = {"timeout": 1.0, "retry": {}}
    for step in run.steps if run is not None else ():
        if step.name not in definition.by_name and not step.is_item:
            yield StepDefinition.model_validate({"name": step.name, **like})


class _Trail:
    """What a run tells of each step, in a line or two on its node."""

    def __init__(self, run: Run | None, took: Mapping[str, timedelta]) -> None:
        self._steps = {step.name: step for step in run.steps} if run is not None else {}
        self._took = took

    def of_action(self, name: str) -> Iterator[str]:
        step = self._steps.get(name)
        if step is None:
            return
        items = [
            each.status for each in self._steps.values() if each.is_item and each.name.startswith(f"{name}[")
        ]
        if items:
            counts = Counter(_TRAILS[status] for status in items)
            yield ", ".join(f"{count} {trail}" for trail, count in counts.items())
        told = [f"{step.attempts} attempts"] if step.attempts > 1 else []
        if name in self._took:
            told.append(_duration(self._took[name]))
        if step.due_at is not None:
            told.append(f"until {step.due_at}")
        yield ", ".join(told)

    def of_compensation(self, name: str) -> str:
        step = self._steps.get(name)
        attempts = 0 if step is None else step.compensation_attempts
        return f"{attempts} attempts" if attempts > 1 else ""


def _duration(took: timedelta) -> str:
    seconds = took.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _node(node: str, step: StepDefinition, trail: _Trail) -> str:
    opens, closes = _SHAPES[step.does]
    lines = "\n".join(filter(None, [_label(step), *trail.of_action(step.name)]))
    return f'{node}{opens}"{_escaped(lines)}"{closes}'


def _label(step: StepDefinition) -> str:
    told = {
        "sleep": "" if step.seconds is None else f"sleep {step.seconds:g} s",
        "signal": f"signal {step.signal}",
        "child": f"saga {step.child}",
        "each": "for each",
        "participant": f"by {step.participant}",
    }.get(step.does, "")
    return "\n".join(filter(None, [step.name, told, "pivot" if step.pivot else ""]))


def _edges(ids: dict[str, str], predecessors: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for name, before in predecessors.items():
        for each in before:
            if each in ids:
                yield f"{ids[each]} --> {ids[name]}"


def _compensation(node: str, step: StepDefinition, trail: _Trail) -> Iterator[str]:
    if step.undoable:
        lines = "\n".join(filter(None, [f"undo {step.name}", trail.of_compensation(step.name)]))
        yield f'{node} -.-> {node}u("{_escaped(lines)}")'


def _classes(ids: dict[str, str], steps: list[StepDefinition], run: Run | None) -> Iterator[str]:
    members: dict[str, list[str]] = {"pivot": [ids[step.name] for step in steps if step.pivot]}
    for step in run.steps if run is not None else ():
        if step.name in ids:
            members.setdefault(_TRAILS[step.status], []).append(ids[step.name])
            undone = _undone(step)
            if undone is not None and any(each.name == step.name and each.undoable for each in steps):
                members.setdefault(undone, []).append(f"{ids[step.name]}u")
    for name, nodes in members.items():
        if nodes:
            yield f"classDef {name} {_COLOURS[name]}"
            yield f"class {','.join(nodes)} {name}"


def _undone(step: Step) -> Trail | None:
    undone: dict[StepStatus, Trail] = {
        "compensating": "running",
        "compensated": "done",
        "compensation_failed": "failed",
    }
    return undone.get(step.status)


def _escaped(label: str) -> str:
    """Inside quotes Mermaid takes every character but a few, which it wants as entities; what it would read as
    Markdown, HTML or the label's end is among them."""
    return "".join(_escaped_character(each) for each in label)


def _escaped_character(character: str) -> str:
    if character == "\n":
        return "<br/>"
    if character.isalnum() or character in " _-.,:/()[]@+":
        return character
    return f"#{ord(character)};"
