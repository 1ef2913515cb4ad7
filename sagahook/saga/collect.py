"""Makes the definition of a saga class out of the marks of its methods and its declared steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sagahook.saga.declared import Code, DeclaredStep, seconds
from sagahook.saga.graph import graph_problems
from sagahook.saga.marks import CompensationMark, Mark, TriggerMark, marks_of
from sagahook.saga.problems import checked, path_problem
from sagahook_schemas.definitions import (
    TIMEOUTS,
    CompensationDefinition,
    SagaDefinition,
    StepDefinition,
    TriggerDefinition,
)

if TYPE_CHECKING:
    from sagahook.saga.language import Saga

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
NAME_RULE = "must be lower-case letters, digits and _, begin with a letter and have at most 64 characters"
ORDERS = ("sequential", "parallel")

Bound = str | Code
"""The name of a method, or code that is bound to the saga when it is asked for."""


@dataclass(slots=True)
class Parts:
    """What a class is made of, by the names of its steps, and what is wrong with it."""

    triggers: list[tuple[str, TriggerMark]] = field(default_factory=list)
    steps: dict[str, DeclaredStep] = field(default_factory=dict)
    undoing: dict[str, CompensationMark] = field(default_factory=dict)
    actions: dict[str, Bound] = field(default_factory=dict)
    compensations: dict[str, Bound] = field(default_factory=dict)
    preparations: dict[str, Bound] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    sound: set[str] = field(default_factory=set)
    """Steps with which nothing is wrong by themselves."""


def collect(cls: type[Saga], taken: Collection[str]) -> tuple[Parts, SagaDefinition]:
    """taken: names that no marked method may have. With problems, the definition is that of a saga without
    steps."""
    parts = Parts(problems=list(_class_problems(cls)))
    for attribute, mark in _marks(cls, taken, parts.problems):
        match mark:
            case TriggerMark():
                parts.triggers.append((attribute, mark))
            case DeclaredStep():
                _add_step(parts, attribute, mark, is_method=getattr(cls, attribute) is not mark)
            case CompensationMark():
                _add_compensation(parts, attribute, mark)
    steps = _steps(parts)
    parts.problems += _limits_differ([mark.definition for _, mark in parts.triggers])
    parts.problems += _attribute_problems(cls.attributes)
    definition = None if parts.problems else _definition(cls, parts, steps)
    parts.problems = [f"{cls.__name__}{_joint(problem)}{problem}" for problem in parts.problems]
    return parts, definition or SagaDefinition(name=str(cls.name), version=1, triggers=(), steps=())


def _class_problems(cls: type[Saga]) -> Iterator[str]:
    if not isinstance(cls.name, str) or not NAME.match(cls.name):
        yield f"the saga name {cls.name!r} {NAME_RULE}"
    if type(cls.version) is not int or cls.version < 1:
        yield f"the version must be a whole number from 1, not {cls.version!r}"
    if cls.compensation_order not in ORDERS:
        yield (
            'compensation must be "sequential" or "parallel" (are the steps of a level undone one by one, or at '
            f"once?), not {cls.compensation_order!r}"
        )


def _joint(problem: str) -> str:
    """A problem that begins with a dot is of that attribute."""
    return "" if problem.startswith(".") else ": "


def _definition(cls: type[Saga], parts: Parts, steps: tuple[StepDefinition, ...]) -> SagaDefinition | None:
    found: list[str] = []

    def make() -> SagaDefinition:
        return SagaDefinition(
            name=cls.name,
            version=cls.version,
            triggers=tuple(mark.definition for _, mark in parts.triggers),
            steps=steps,
            compensation=cls.compensation_order,
            deadline=seconds(cls.deadline),
            attributes=dict(cls.attributes),
        )

    try_made = checked("", make, found)
    parts.problems += [problem.removeprefix(": ") for problem in found]
    if try_made is not None:
        conditional = {name for name, step in parts.steps.items() if step.when is not None}
        parts.problems += graph_problems(try_made, conditional)
    return None if parts.problems else try_made


def _marks(cls: type[Saga], taken: Collection[str], problems: list[str]) -> Iterator[tuple[str, Mark]]:
    """Every mark with its attribute's name, base classes first, in the order written."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for attribute, member in base.__dict__.items():
            if marks_of(members.get(attribute)) and callable(member) and not marks_of(member):
                problems.append(
                    f".{attribute} replaces a marked method of its base class without a mark of its own: write @step, "
                    f"@compensate or @trigger above it, or {attribute} = None to leave it out"
                )
            members[attribute] = member
    for attribute, member in members.items():
        for mark in marks_of(member):
            if attribute in taken:
                problems.append(
                    f".{attribute}: the name {attribute!r} is used by the engine: rename it, and where it is a step "
                    f"keep the step's name with @step({attribute!r}) or name={attribute!r}"
                )
            yield attribute, mark


def _add_step(parts: Parts, attribute: str, step: DeclaredStep, *, is_method: bool) -> None:
    wrong = [f"the step {attribute!r}: {problem}" for problem in step.problems()]
    name = step.name if step.name and isinstance(step.name, str) else attribute
    if not wrong:
        wrong += _name_problems(name, name in parts.steps)
    parts.problems += wrong
    parts.steps.setdefault(name, step)
    if wrong:
        return
    parts.sound.add(name)
    if (act := step.action()) is not None:
        parts.actions[name] = act
    elif is_method:  # found again by its name, so that a test may put another in its place
        parts.actions[name] = attribute
    if (undo := step.compensation()) is not None:
        parts.compensations[name] = undo
    if (prepare := step.preparation()) is not None:
        parts.preparations[name] = prepare


def _name_problems(name: str, is_double: bool) -> Iterator[str]:
    if is_double:
        yield f"two steps are named {name!r}"
    if "[" in name or "]" in name:
        yield f"the step name {name!r}: [ and ] are reserved for the items of a foreach: it {NAME_RULE}"
    elif not NAME.match(name):
        yield f"the step name {name!r} {NAME_RULE}"


def _add_compensation(parts: Parts, attribute: str, mark: CompensationMark) -> None:
    if mark.step in parts.undoing:
        parts.problems.append(f"the step {mark.step!r} has two compensations")
    parts.undoing[mark.step] = mark
    parts.compensations[mark.step] = attribute


def _steps(parts: Parts) -> tuple[StepDefinition, ...]:
    for orphan in (name for name in parts.undoing if name not in parts.steps):
        parts.problems.append(
            f".{parts.compensations[orphan]} compensates the step {orphan!r}, which does not exist; "
            f"the steps are: {', '.join(parts.steps) or 'none'}"
        )
    made: list[StepDefinition] = []
    for name, step in parts.steps.items():
        made += _step(parts, name, step)
    return tuple(made)


def _step(parts: Parts, name: str, step: DeclaredStep) -> Iterator[StepDefinition]:
    """The step with its compensation; nothing where it is wrong."""
    what = f"the step {name!r}"
    if name not in parts.sound:
        return
    definition = checked(what, lambda: step.definition(name), parts.problems)
    mark = parts.undoing.get(name)
    if mark is None:
        if definition is not None:
            yield definition
        return
    if definition is not None and definition.compensation is not None:
        parts.problems.append(f"{what} has two compensations: it brings its own, leave out the @compensate")
    longest = TIMEOUTS.get(step.kind, TIMEOUTS["network"])
    compensation = checked(
        f"the compensation of {what}",
        lambda: CompensationDefinition(
            timeout=longest if mark.timeout is None else mark.timeout, retry=mark.retry
        ),
        parts.problems,
    )
    if definition is not None:
        yield definition.model_copy(update={"compensation": compensation})


def _limits_differ(triggers: list[TriggerDefinition]) -> Iterator[str]:
    """A saga's limits are found by its name, and two triggers' runs may count against the same one."""
    limiting = [each for each in triggers if each.max_concurrent is not None or each.rate_limit is not None]
    for other in limiting[1:]:
        first = limiting[0]
        if (other.max_concurrent, other.rate_limit) != (first.max_concurrent, first.rate_limit):
            yield (
                f"the triggers of {first.source!r} and {other.source!r} limit the same saga differently: give "
                "both the same max_concurrent and rate_limit"
            )


def _attribute_problems(attributes: Any) -> Iterator[str]:
    if not isinstance(attributes, Mapping):
        yield (
            'attributes must be a dict of names and paths, such as {"repository": "repo.name"}, '
            f"not {attributes!r}"
        )
        return
    for name, path in attributes.items():
        if not isinstance(name, str) or not NAME.match(name):
            yield f"attributes: the name {name!r} {NAME_RULE}"
        if problem := path_problem(f"attributes: {name!r}", path, "the context"):
            yield problem
