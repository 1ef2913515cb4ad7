"""Whatever operators, webhooks and dying processes do to sagas at whatever moment: nothing unlawful happens, and when
it is over everything can be brought to its end.

The runs are judged by `tests.oracle`, which shares nothing with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random

import pytest

from sagahook_runner.domain.commands import (
    AttemptLost,
    AttemptSucceeded,
    Command,
    DeadlineDue,
    Operate,
    Park,
    Progress,
    StepDue,
    Unpark,
)
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_schemas.definitions import RateLimit, SagaDefinition, TriggerDefinition
from sagahook_schemas.identity import Phase
from tests.oracle import check_effects, check_limit, check_log
from tests.saga_chance import Chance, chance_of
from tests.saga_parts import Attempted, Try, definition, plans, start
from tests.saga_world import World

LIMIT = "limit/order"
BATCHES, BATCH = 16, 75
OFTEN = 6
"""So many of the batches are played in every run, the others in the long one."""


def limited(chance: Chance, dice: Random) -> Chance:
    """The same, at most one or two of them at once, in some cases so many in a time; and a second version."""
    order, *others = chance.definitions
    trigger = TriggerDefinition(
        source="shop",
        max_concurrent=dice.choice([1, 1, 2]),
        rate_limit=dice.choice([None, None, RateLimit(count=2, per=5.0)]),
    )
    order = order.model_copy(update={"triggers": (trigger,)})
    second = order.model_copy(update={"version": 2, "compensation": "sequential"})
    return replace(chance, definitions=(order, *others, second))


def any_end(chance: Chance) -> Callable[[Attempted], Try]:
    """What an attempt comes to, of which every twelfth or so ends with its process."""

    def come_to(attempted: Attempted) -> Try:
        end = chance.hashed("dies", *attempted) % 48
        ends: tuple[Try, ...] = ("crash before", "crash after", "stopped", "never begun")
        return ends[end] if end < 4 else chance.comes_to(attempted, by_attempt=True)

    return come_to


class Disturber:
    """After a commit, now and then, something happens that nobody waits for; a bounded number of times."""

    def __init__(self, dice: Random, definition: SagaDefinition) -> None:
        self.dice = dice
        self.steps = [each.name for each in definition.steps]
        self.left = dice.randrange(2, 25)
        self.likely = dice.choice([0.1, 0.3, 0.6])
        self.count = 0
        self.busy = False

    def __call__(self, world: World) -> None:
        if self.busy or self.left <= 0 or not world.snapshots or self.dice.random() > self.likely:
            return
        self.busy, self.left = True, self.left - 1
        self.disturb(world)
        self.busy = False

    def disturb(self, world: World) -> None:
        self.count += 1
        dice = self.dice
        saga = dice.choice(sorted(world.snapshots))
        state = world.state(saga)
        match dice.randrange(8):
            case 0:
                world.crash(from_log=dice.random() < 0.5, reason=dice.choice(["crash", "crash", "stopped"]))
            case 1:
                world.apply(saga, self.stray(state))
            case 2 if world.told:
                world.apply(*dice.choice(world.told))
            case 3:
                again = start(dice.choice([f"evt-{saga}", f"evt-{self.count}"]), limit_key=LIMIT)
                if saga.startswith("saga"):
                    world.apply(saga, again)
            case _:
                world.apply(saga, Operate(self.request(state), f"cmd-{self.count}"))

    def stray(self, state: SagaState) -> Command:
        dice = self.dice
        step = dice.choice([*state.open, "a", "zzz"])
        phases: list[Phase] = ["action", "compensation", "prepare"]
        phase = dice.choice(phases)
        commands: list[Command] = [
            StepDue(state.run, step, dice.randrange(1, 4)),
            DeadlineDue(state.run),
            Progress(state.run, dice.uniform(-1, 2), "on the way"),
            Park("its definition changed"),
            Unpark("it is deployed"),
            AttemptSucceeded(state.run, step, phase, 99, "stray", 1),
            AttemptSucceeded(state.run - 1, step, phase, 1, "stray", 1),
            AttemptLost(state.run, step, phase, 99, "crash"),
        ]
        return dice.choice(commands)

    def request(
        self, state: SagaState
    ) -> CancelSaga | RetrySaga | ResolveCompensation | SignalSaga | MigrateSaga:
        dice = self.dice
        number = dice.randrange(10)
        if number < 2:
            return CancelSaga(actor="ann", reason="")
        if number < 5 or state.status == "SUSPENDED":
            return RetrySaga(actor="ann", reason="mended")
        if number < 7 or state.status == "FAILED":
            step = dice.choice([*state.to_undo, "a"])
            return ResolveCompensation(actor="ann", step=step, how=dice.choice(["retry", "skip", "resolve"]))
        if number < 9:
            signal = dice.choice(["go", "stop", *self.steps])
            return SignalSaga(
                actor="ann", signal=signal, signal_id=f"sig-{dice.randrange(6)}", payload=number
            )
        return MigrateSaga(actor="ann", version=dice.randrange(1, 4))


def brought_to_an_end(world: World) -> None:
    """All faults stop, and an operator does what there is to do; a saga may need it once for itself, and once more for
    each of its children's children."""
    world.script = lambda attempted: "ok"
    world.after_commit = lambda world: None
    for turn in range(12):
        world.run()
        states = [SagaState.from_json(snapshot) for snapshot in world.snapshots.values()]
        if all(state.status in FINAL for state in states):
            return
        for state in states:
            for waited in [each.signal for each in state.open.values() if each.signal is not None]:
                told = SignalSaga(actor="ann", signal=waited, signal_id=f"end-{turn}-{waited}")
                world.operate(told, state.saga_id)
            if state.status == "SUSPENDED":
                world.operate(RetrySaga(actor="ann", reason="mended"), state.saga_id)


def chaos(seed: int) -> tuple[Chance, World]:
    dice = Random(seed)
    chance = limited(chance_of(seed, rough=dice.choice([0.5, 1.0, 1.5])), dice)
    world = chance.world()
    world.script = any_end(chance)
    world.after_commit = Disturber(dice, chance.definitions[0])
    for number in range(dice.randrange(1, 4)):
        world.apply(f"saga-{number}", start(f"evt-saga-{number}", limit_key=LIMIT))
    for after, signal, signal_id in chance.signals:
        told = SignalSaga(actor="ann", signal=signal, signal_id=signal_id)
        world.plan(after, partial(World.operate, request=told, saga_id="saga-0"))
    world.run()
    brought_to_an_end(world)
    return chance, world


def unlawful(chance: Chance, world: World) -> list[str]:
    logged = world.logged()
    rate = chance.definitions[0].triggers[0].rate_limit
    return [
        *check_log(logged, chance.plans, reruns=True, commits=[record.commit for record in world.log]),
        *check_effects(logged, world.participants.applied, chance.plans),
        *check_limit(world.limit_logged(LIMIT), rate=None if rate is None else (rate.count, rate.per)),
        *(
            f"{saga} is {state.status}: {state.reason}, {state.open}"
            for saga, snapshot in world.snapshots.items()
            if (state := SagaState.from_json(snapshot)).status not in FINAL
        ),
    ]


@pytest.mark.parametrize(
    "batch", [pytest.param(batch, marks=[pytest.mark.long] * (batch >= OFTEN)) for batch in range(BATCHES)]
)
def test_whatever_is_done_to_sagas_they_stay_lawful_and_can_be_brought_to_an_end(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        chance, world = chaos(seed)
        assert unlawful(chance, world) == [], f"seed {seed}"


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_forgotten_begins_a_run_that_none_before_it_had(dies: bool) -> None:
    """So its effects have other keys than those of the run that nobody remembers."""
    world = World([definition("reserve", "charge")])
    world.apply("saga", start("evt-1"))
    world.run()
    world.now += timedelta(days=6)
    assert world.forget() == []
    assert [entry.event.ce_type for entry in world.apply("saga", start("evt-2"))] == [
        "sagahook.saga.joined.v1"
    ]
    world.now += timedelta(days=2)
    assert world.forget() == ["saga"]
    if dies:
        world.crash(from_log=True)
    world.apply("saga", start("evt-3"))
    world.run()
    assert world.participants.applied == [
        f"saga/{run}/{step}/action" for run in (1, 2) for step in ("reserve", "charge")
    ]
    assert check_log(world.logged(), plans(world.definitions.values()), reruns=True) == []
