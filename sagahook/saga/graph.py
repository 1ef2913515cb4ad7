"""What can be wrong with the steps of a saga taken together: their order, their pivots and what undoes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sagahook_schemas.definitions import SagaDefinition, StepDefinition


def graph_problems(definition: SagaDefinition, conditional: Collection[str]) -> Iterator[str]:
    """Every problem in a line. conditional: the steps that may be skipped."""
    yield from _unknown(definition)
    yield from _cycles(definition)
    for step in definition.steps:
        yield from _alone(step)
    yield from _never_undone(definition, conditional)


def _alone(step: StepDefinition) -> Iterator[str]:
    if step.pivot and step.does in ("sleep", "signal"):
        yield (
            f"the step {step.name!r} only waits, and so cannot be a pivot: put pivot=True on the step that does what "
            "cannot be undone"
        )
    if step.heartbeat is not None and step.heartbeat >= step.timeout:
        yield (
            f"the step {step.name!r}: its heartbeat ({step.heartbeat:g} s) must be shorter than its timeout "
            f"({step.timeout:g} s), or an attempt is given up before it could be missed"
        )


def _unknown(definition: SagaDefinition) -> Iterator[str]:
    for step in definition.steps:
        for name in step.after or ():
            if name not in definition.by_name:
                yield (
                    f"the step {step.name!r} comes after {name!r}, which does not exist; the steps are: "
                    f"{', '.join(definition.by_name)}"
                )


def _cycles(definition: SagaDefinition) -> Iterator[str]:
    """Each circle once, as the way round it."""
    before = {
        name: [one for one in names if one in definition.by_name]
        for name, names in definition.predecessors.items()
    }
    done: set[str] = set()
    while ready := [name for name, names in before.items() if name not in done and done.issuperset(names)]:
        done.update(ready)
    for first in before:
        name = first
        way: list[str] = []
        while name not in done and name not in way:
            way.append(name)
            # Whatever is left waits for something else that is left, or for a circle that is told already.
            name = next((one for one in before[name] if one not in done), before[name][0])
        if name in way:
            circle = way[way.index(name) :][::-1]
            start = circle.index(min(circle, key=list(before).index))  # the one written first
            circle = [*circle[start:], *circle[:start]]
            shown = " → ".join([*circle, circle[0]])
            yield f"the steps {shown} wait for each other in a circle: take one out of an after"
        done.update(way)


def _never_undone(definition: SagaDefinition, conditional: Collection[str]) -> Iterator[str]:
    """Compensations that could never run, because the saga is past a pivot by then."""
    past: dict[str, str] = {}
    for name in definition.levels:
        for one in definition.predecessors[name]:
            if one in past:
                past.setdefault(name, past[one])
            elif definition.by_name[one].pivot and one not in conditional:
                past[name] = one
    for step in definition.steps:
        if step.compensation is None:
            continue
        if step.pivot:
            yield (
                f"the step {step.name!r} is a pivot and has a compensation, which could never run: leave out one of "
                "the two"
            )
        elif step.name in past:
            yield (
                f"the step {step.name!r} has a compensation, which could never run: past the pivot "
                f"{past[step.name]!r} nothing is compensated; leave it out, or move the pivot"
            )
