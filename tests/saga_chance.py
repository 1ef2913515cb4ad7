"""Random sagas as graphs: definitions of every kind of step, what their preparations say, and what attempts come to.

Everything follows from a seed by hashing, and not by the order in which it is asked for, so that a run that was
cut off by a crash meets the same world as one that was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from random import Random
from typing import Any
from zlib import crc32

from sagahook_runner.domain.react import Message
from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import SignalSaga
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from tests.oracle import Plans
from tests.saga_parts import Attempted, Try, plans, start, step
from tests.saga_world import World

_KINDS = ["action"] * 5 + ["participant", "participant", "sleep", "signal", "each", "each", "child", "child"]


@dataclass(frozen=True)
class Chance:
    """One family of sagas, what is said in it, and how its attempts end. rough: how often something goes wrong."""

    seed: int
    definitions: tuple[SagaDefinition, ...]
    says: dict[str, JsonValue]
    signals: tuple[tuple[float, str, str], ...]
    rough: float

    @cached_property
    def plans(self) -> Plans:
        return plans(self.definitions)

    def hashed(self, *what: object) -> int:
        return crc32(repr((self.seed, *what)).encode())

    def comes_to(self, attempted: Attempted, *, by_attempt: bool = False) -> Try:
        """by_attempt: each further attempt may come to something else, also where only a crash made it."""
        number = attempted.attempt if by_attempt else attempted.failures
        which = (attempted.saga_id, attempted.run, attempted.step, attempted.phase, attempted.carry, number)
        chance = self.hashed("comes to", *which) / 2**32 / self.rough
        if attempted.phase == "prepare":
            return "fails" if chance < 0.03 else "refused" if chance < 0.04 else "ok"
        outcomes: list[tuple[float, Try]] = [
            (0.08, "fails"),
            (0.07 if attempted.phase == "action" else 0.03, "refused"),
            (0.03, "times out applied"),
            (0.03, "times out unapplied"),
            (0.02, "times out late"),
            (0.05 if attempted.carry < 2 else 0.0, "continues"),
        ]
        for likelihood, outcome in outcomes:
            if chance < likelihood:
                return outcome
            chance -= likelihood
        return "ok"

    def takes(self, attempted: Attempted) -> timedelta:
        which = (attempted.saga_id, attempted.run, attempted.step, attempted.phase, attempted.carry)
        return timedelta(microseconds=50_000 + self.hashed("takes", *which, attempted.failures) % 100_000)

    def delay(self, message: Message) -> timedelta:
        told = (message.key, message.command.ce_type, getattr(message.command, "phase", ""))
        return timedelta(microseconds=500 + self.hashed("travels", *told) % 20_000)

    def world(self) -> World:
        """Before its start."""
        world = World(self.definitions, self.comes_to)
        world.says = self.says
        world.takes, world.delay = self.takes, self.delay
        world.effects_at_the_end = self.seed % 2 == 1
        return world

    def begin(self, world: World) -> None:
        for after, signal, signal_id in self.signals:
            told = SignalSaga(actor="ann", signal=signal, signal_id=signal_id, payload={"by": signal_id})
            world.plan(after, partial(World.operate, request=told))
        world.apply("saga", start("evt-1", context={"order_id": 7}))


def chance_of(seed: int, rough: float = 1.0) -> Chance:
    dice = Random(seed)
    steps = tuple(
        _steps(dice, "abcdefg"[: dice.choice([1, 2, 3, 3, 4, 4, 5, 5, 6, 7])], _KINDS, child="part")
    )
    parts = tuple(
        _steps(dice, "pqr"[: dice.randrange(1, 4)], ["action", "action", "sleep", "child"], child="crumb")
    )
    crumbs = tuple(_steps(dice, "xy"[: dice.randrange(1, 3)], ["action"], child=""))
    definitions = (
        _saga(dice, "order", steps, deadline=dice.random() < 0.15),
        _saga(dice, "part", parts, deadline=False),
        _saga(dice, "crumb", crumbs, deadline=False),
    )
    says = {each.name: _said(dice, each) for each in (*steps, *parts, *crumbs) if each.prepares}
    return Chance(seed, definitions, says, tuple(_signals(dice, steps)), rough)


def _saga(dice: Random, name: str, steps: tuple[StepDefinition, ...], *, deadline: bool) -> SagaDefinition:
    return SagaDefinition(
        name=name,
        version=1,
        triggers=(),
        steps=steps,
        compensation=dice.choice(["sequential", "parallel"]),
        deadline=dice.uniform(0.1, 2.5) if deadline else None,
    )


def _steps(dice: Random, names: str, kinds: list[str], *, child: str) -> list[StepDefinition]:
    graph = dice.random() < 0.75
    pivot = dice.choice(names) if dice.random() < 0.25 else ""
    return [
        _step(
            dice,
            name,
            dice.choice(kinds),
            child=child,
            after=tuple(sorted(dice.sample(names[:at], dice.randrange(0, min(at, 3) + 1))))
            if graph
            else None,
            pivot=name == pivot,
        )
        for at, name in enumerate(names)
    ]


def _step(dice: Random, name: str, does: str, *, child: str, **said: Any) -> StepDefinition:
    said["does"] = does
    said["prepares"] = does in ("each", "child") or dice.random() < 0.25
    match does:
        case "sleep":
            said["seconds"] = round(dice.uniform(0, 1.5), 3)
        case "signal":
            said |= {
                "signal": dice.choice(["go", "stop", name]),
                "on_timeout": dice.choice(["fail", "continue"]),
            }
            said["patience"] = round(dice.uniform(0.1, 2), 3) if dice.random() < 0.85 else 5.0
        case "each":
            said["concurrency"] = dice.choice([None, 1, 2])
        case "child":
            said["child"] = child
        case "participant":
            said["participant"] = "shop"
    if dice.random() < 0.1:
        said["deadline"] = round(dice.uniform(0.2, 3), 3)
    undoable = does in ("action", "each", "participant") and dice.random() < 0.8
    return step(
        name,
        undoable=undoable,
        retry=_retry(dice),
        undo=_retry(dice),
        timeout=dice.choice([0.5, 2.0]),
        **said,
    )


def _retry(dice: Random) -> Retry:
    return Retry(
        max=dice.randrange(4),
        initial=dice.choice([0.0, 0.05, 1.0]),
        factor=dice.choice([1.0, 2.0]),
        jitter=dice.choice([0.0, 0.5]),
        cap=dice.choice([0.5, 300.0]),
    )


def _said(dice: Random, step: StepDefinition) -> JsonValue:
    if dice.random() < 0.2:
        return {"skip": f"{step.name} is not wanted"}
    match step.does:
        case "sleep":
            return {"value": round(dice.uniform(0, 1), 3)}
        case "each":
            return {"value": list(range(dice.randrange(5)))}
        case "child":
            return {"value": {"name": step.child, "version": 1, "context": {"of": step.name}}}
        case "participant":
            return {"value": {"for": step.name}}
    return {"value": None}


def _signals(dice: Random, steps: tuple[StepDefinition, ...]) -> list[tuple[float, str, str]]:
    """Some come before they are awaited, some twice, some late, some never."""
    told: list[tuple[float, str, str]] = []
    for each in steps:
        if each.does == "signal" and dice.random() < 0.75:
            signal_id = f"sig-{each.name}"
            told.append((dice.uniform(0, 1.5), each.signal or each.name, signal_id))
            if dice.random() < 0.3:
                told.append((dice.uniform(0, 3), each.signal or each.name, signal_id))
    return told
