"""What can be wrong with the sagas of an app taken together: the children that they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sagahook_schemas.definitions import SagaDefinition

Newest = Mapping[str, SagaDefinition]


def family_problems(definitions: tuple[SagaDefinition, ...], newest: Newest) -> Iterator[str]:
    """Every problem in a line. newest: by name; of a saga that is a child always that version runs."""
    told: set[frozenset[str]] = set()
    for definition in definitions:
        yield from _orphans(definition, newest)
        for way in _ways_back(definition, newest):
            if (among := frozenset(each.key for each in way)) not in told:
                told.add(among)
                yield from _way_problem(way)


def _orphans(definition: SagaDefinition, newest: Newest) -> Iterator[str]:
    for step in definition.steps:
        if step.child is not None and step.child not in newest:
            yield (
                f"{definition.key}: the step {step.name!r} runs the saga {step.child!r}, which does not exist: "
                f"bring it into the app's module; its sagas are: {', '.join(newest)}"
            )


def _ways_back(start: SagaDefinition, newest: Newest) -> Iterator[list[SagaDefinition]]:
    """The ways from a saga through its children to one of its own name."""
    waiting = [[start]]
    seen: set[str] = set()
    while waiting:
        way = waiting.pop()
        for name in dict.fromkeys(step.child for step in way[-1].steps if step.child in newest):
            child = newest[str(name)]
            if name == start.name:
                yield [*way, child]
            elif child.key not in seen:
                seen.add(child.key)
                waiting.append([*way, child])


def _way_problem(way: list[SagaDefinition]) -> Iterator[str]:
    """It is without end where it comes back to the very version; else it ends, unless it waits for itself."""
    first, last = way[0], way[-1]
    shown = " → ".join(each.key for each in way)
    if first.key == last.key:
        yield f"{shown}: the saga {first.name!r} is its own child without end: take one of the child steps out"
    elif _is_limited(first) and _is_limited(last):
        yield (
            f"{shown}: the child needs a slot of the limit of {first.name!r} that its parent holds until the child is "
            "done: take the child step or the limit out"
        )


def _is_limited(definition: SagaDefinition) -> bool:
    return any(each.max_concurrent is not None or each.rate_limit is not None for each in definition.triggers)
