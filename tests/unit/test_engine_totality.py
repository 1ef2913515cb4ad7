"""The engine is total: whatever it is told in whatever state, under whatever definition, it answers with events that
can be read again, and any event leads to a state that can be kept.

The states are those of graphs of all kinds of steps on their way, and of what operators, children and limits do to
them.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from random import Random

import pytest

from sagahook_runner.domain.commands import (
    Admit,
    AttemptContinued,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    DeadlineDue,
    FunctionEnded,
    Operate,
    Park,
    Progress,
    Release,
    RequestStep,
    Start,
    StepDue,
    Undo,
    Unpark,
)
from sagahook_runner.domain.decide import follow
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.react import messages
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.codec import decode_data
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.identity import Phase
from tests.saga_chance import Chance, chance_of
from tests.saga_parts import BEGINNING, start, step
from tests.unit.test_engine_chaos import chaos

PHASES: list[Phase] = ["action", "compensation", "prepare"]
SAID: list[JsonValue] = [
    None,
    "",
    7,
    -1.5,
    "2030-01-01T00:00:00",
    "2030-01-01T00:00:01Z",
    {"value": None},
    {"value": [1, 2]},
    {"value": "soon"},
    {"value": 1e300},
    {"value": {"name": "part", "version": 1, "context": {}}},
    {"skip": ""},
]
SECONDS = [0.0, 0.5, -3.0, 1e300, float(2**62)]
ROUNDS = 6
SEEDS = [pytest.param(seed, marks=[pytest.mark.long] * (seed >= 24)) for seed in range(60)]
"""The first of them are tried in every run, the others in the long one."""


def drawn_commands(dice: Random, state: SagaState) -> list[Command]:
    """One of each kind, mostly about what the saga waits for."""
    about = dice.choice([*state.open.values(), None])
    name = about.step if about is not None else dice.choice(["a", "b[0]", "p", "zzz", ""])
    phase = about.phase if about is not None and dice.random() < 0.8 else dice.choice(PHASES)
    number = about.attempt if about is not None else dice.randrange(-1, 4)
    attempt = dice.choice([number, number, 0])
    run = dice.choice([state.run, state.run, state.run + 1])
    which = (run, name, phase, attempt)
    undo = dice.choice([*state.to_undo, name])
    waited = dice.choice([each.signal for each in state.open.values() if each.signal] or ["go"])
    asked = step("new", does=dice.choice(["action", "sleep", "child", "each", "signal"]))
    flags = (dice.random() < 0.5, dice.random() < 0.5)
    return [
        replace_again(start(dice.choice(["evt-1", "evt-9"])), dice.random() < 0.3),
        AttemptSucceeded(*which, dice.choice(SAID), 1),
        AttemptFailed(*which, "ShopError: no", *flags, 1, 0.5, dice.choice([None, *SECONDS])),
        AttemptContinued(*which, dice.choice(SECONDS), dice.choice(SAID)),
        AttemptLost(*which, dice.choice(["crash", "stopped", "never_begun"])),
        StepDue(run, name, number),
        DeadlineDue(run),
        Park("why", dice.choice(["definition", "order"])),
        Unpark("deployed"),
        Progress(run, dice.choice([-1.0, 0.3, 7.0]), "half way"),
        Undo("the parent failed"),
        Release(),
        Admit(run, dice.choice([state.limit_key or "", "limit/other"])),
        RequestStep(run, dice.choice([len(state.declared) + 1, 7]), asked, dice.choice(SAID)),
        FunctionEnded(run, dice.choice(SAID), dice.choice([None, "E: no"])),
        Operate(CancelSaga(actor="ann"), "cmd"),
        Operate(RetrySaga(actor="ann"), "cmd"),
        Operate(
            ResolveCompensation(actor="ann", step=undo, how=dice.choice(["retry", "skip", "resolve"])), "cmd"
        ),
        Operate(SignalSaga(actor="ann", signal=waited, signal_id="x", payload=dice.choice(SAID)), "cmd"),
        Operate(MigrateSaga(actor="ann", version=dice.choice([1, 2])), "cmd"),
    ]


def replace_again(command: Start, again: bool) -> Start:
    return Start(command.request.model_copy(update={"again": again}))


def states_of(chance: Chance, seed: int) -> tuple[list[SagaState], list[Contract]]:
    """Every state of the family's sagas, and every event that led there; half of them disturbed by operators."""
    if seed % 2:
        _, world = chaos(seed)
    else:
        world = chance.world()
        chance.begin(world)
        world.run()
    states: dict[str, SagaState] = {}
    seen: list[SagaState] = []
    events: list[Contract] = []
    for record in world.log:
        before = states.get(record.saga_id) or SagaState(record.saga_id)
        event = record.event()
        states[record.saga_id] = evolve(before, event)
        seen.append(states[record.saga_id])
        events.append(event)
    return [SagaState("saga"), *seen], events


def check_decision(
    state: SagaState, command: Command, definition: SagaDefinition | None, *, own: bool
) -> list[SagaState]:
    """own: the definition is the one under which the state came about: then the engine follows itself."""
    after = []
    for event, then in follow(state, command, definition, BEGINNING + timedelta(hours=1)):
        assert decode_data(event.ce_type, event.to_json()) == event, (command, event)
        assert then.cause != "engine" or state.cause == "engine" or not own, (
            state,
            command,
            event,
            then.reason,
        )
        check_kept(then)
        messages(event, then)
        after.append(then)
    return after


def check_kept(state: SagaState) -> None:
    again = SagaState.from_json(state.to_json())
    assert [
        (each.name, getattr(again, each.name), getattr(state, each.name))
        for each in fields(SagaState)
        if getattr(again, each.name) != getattr(state, each.name)
    ] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_any_command_in_any_state_under_any_definition_gives_events_that_can_be_read(seed: int) -> None:
    """Also a second one, in whatever state the first one led to."""
    dice = Random(seed)
    chance, other = chance_of(seed, rough=1.5), chance_of(seed + 1000)
    deployed = {each.name: each for each in chance.definitions}
    others = [*other.definitions, None]
    states, _ = states_of(chance, seed)
    for state in dice.sample(states, min(len(states), 25)):
        for command in drawn_commands(dice, state):
            own = deployed.get(state.name)
            after = check_decision(state, command, own, own=own is not None and seed % 2 == 0)
            check_decision(state, command, dice.choice(others), own=False)
            for next_one in drawn_commands(dice, after[-1]) if after and dice.random() < 0.2 else []:
                check_decision(after[-1], next_one, dice.choice([own, *others]), own=False)


def about_what_is_open(event: Contract, state: SagaState) -> Contract:
    """What is about nothing teaches little."""
    for known in state.open.values():
        about = {"step": known.step, "phase": known.phase, "attempt": known.attempt}
        fields = type(event).model_fields
        return event.model_copy(update={name: value for name, value in about.items() if name in fields})
    return event


@pytest.mark.parametrize("seed", SEEDS)
def test_any_event_in_any_state_gives_a_state_that_can_be_kept(seed: int) -> None:
    dice = Random(seed)
    states, events = states_of(chance_of(seed, rough=1.5), seed)
    _, foreign = states_of(chance_of(seed + 2000, rough=1.5), seed + 1)
    for state in states:
        before = state
        for drawn in dice.sample([*events, *foreign], min(len(events), ROUNDS)):
            event = about_what_is_open(drawn, before) if dice.random() < 0.5 else drawn
            after = evolve(before, event)
            assert after.sequence in (1, before.sequence + 1)
            assert replace(after) == after
            check_kept(after)
            before = after
