"""What holds for every saga that is a graph of all kinds of steps, wherever its process dies.

The runs are judged by `tests.oracle`, which shares nothing with the engine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from sagahook_runner.domain.state import SagaState
from tests.oracle import check_all
from tests.saga_chance import Chance, chance_of
from tests.saga_parts import Attempted, Script, Try
from tests.saga_world import World

BATCHES, BATCH = 13, 80


@dataclass(frozen=True)
class Ending:
    """What must not depend on where a process died. undone: by saga, each level's steps in an order of their own."""

    statuses: tuple[tuple[str, str], ...]
    kept: frozenset[str]
    applied: frozenset[str]
    undone: tuple[tuple[str, tuple[tuple[int, frozenset[str]], ...]], ...]
    unresolved: frozenset[tuple[str, str]]


def ending(chance: Chance, world: World, unsure: set[tuple[str, str]]) -> Ending:
    """unsure: steps of sagas whose outcome only a crash made unknown: whether they were undone is left out."""
    states = {saga: SagaState.from_json(snapshot) for saga, snapshot in world.snapshots.items()}
    levels = {each.name: each.levels for each in chance.definitions}

    def sure(key: str) -> bool:
        saga, _, step, _ = key.split("/")
        return (saga, step) not in unsure

    return Ending(
        statuses=tuple(sorted((saga, state.status) for saga, state in states.items())),
        kept=frozenset(filter(sure, world.participants.kept())),
        applied=frozenset(filter(sure, world.participants.applied)),
        undone=tuple(
            (
                saga,
                _by_level(
                    world.undone(saga), levels[state.name], {step for of, step in unsure if of == saga}
                ),
            )
            for saga, state in sorted(states.items())
        ),
        unresolved=frozenset(
            (saga, step)
            for saga, state in states.items()
            for step in state.to_undo
            if (saga, step) not in unsure
        ),
    )


def _by_level(
    undone: list[str], levels: dict[str, int], without: set[str]
) -> tuple[tuple[int, frozenset[str]], ...]:
    found: list[tuple[int, frozenset[str]]] = []
    for step in undone:
        level = levels[step.partition("[")[0]]
        if step in without:
            continue
        if found and found[-1][0] == level:
            found[-1] = (level, found[-1][1] | {step})
        else:
            found.append((level, frozenset({step})))
    return tuple(found)


@dataclass(frozen=True)
class Runs:
    """One family of sagas, played in a world that nothing disturbs, and to its end once more from each commit."""

    chance: Chance
    undisturbed: World
    that_died: list[World]
    """At the first commit, at the second, and so on."""


def played(chance: Chance, *, dying: bool = True) -> Runs:
    """dying: also as it goes on where the process dies. The way there is the same, and is gone only once."""

    def come_to(world: World) -> Script:
        def comes_to(attempted: Attempted) -> Try:
            # Undoing what was never done succeeds, as every participant must see to.
            action = f"{attempted.saga_id}/{attempted.run}/{attempted.step}/action"
            if attempted.phase == "compensation" and action not in world.participants.applied:
                return "ok"
            return chance.comes_to(attempted)

        return comes_to

    def die(world: World) -> None:
        that_died.append(world.where_its_process_dies(come_to, from_log=world.commits % 2 == 0))

    that_died: list[World] = []
    world = chance.world()
    world.script = come_to(world)
    if dying:
        world.after_commit = die
    chance.begin(world)
    world.run()
    return Runs(chance, world, that_died)


def lawful(chance: Chance, world: World) -> None:
    logged = world.logged()
    commits = [record.commit for record in world.log]
    assert check_all(logged, world.participants.applied, chance.plans, reruns=True, commits=commits) == []


def lost_in(world: World) -> tuple[set[tuple[str, str]], bool]:
    """The steps of sagas of which an attempt was lost, and whether one of them has no known outcome for good."""
    lost: set[tuple[str, str]] = set()
    open_to_doubt: set[tuple[str, str]] = set()
    for event in world.logged():
        if event.kind == "step.attempt_lost" and event.data["phase"] == "action":
            open_to_doubt.add((event.saga_id, event.data["step"]))
        elif event.kind == "step.completed" and event.data["phase"] == "action":
            open_to_doubt.discard((event.saga_id, event.data["step"]))
        if event.kind == "step.attempt_lost" and event.data["phase"] != "prepare":
            lost.add((event.saga_id, event.data["step"]))
    return lost, bool(open_to_doubt)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_process_that_dies_anywhere_changes_nothing_about_how_its_sagas_end(batch: int) -> None:
    """At every commit, which is every event boundary there is: a transaction that was cut off left nothing."""
    counted: Counter[str] = Counter()
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        runs = played(chance_of(seed))
        lawful(runs.chance, runs.undisturbed)
        assert len(runs.that_died) == runs.undisturbed.commits
        for commit, world in enumerate(runs.that_died, 1):
            assert world.crashes == 1
            lawful(runs.chance, world)
            counted["cases"] += 1
            counted["ended otherwise"] += differs(
                runs.chance, world, runs.undisturbed, f"seed {seed}, commit {commit}"
            )
    assert counted["ended otherwise"] * 20 <= counted["cases"]


def differs(chance: Chance, world: World, undisturbed: World, which: str) -> bool:
    """Whether the crash changed how it ended. It may where it made an outcome unknown for good: what may have been done
    is undone too, and past a pivot the saga is suspended."""
    unsure, in_doubt = lost_in(world)
    expected, found = ending(chance, undisturbed, unsure), ending(chance, world, unsure)
    if not in_doubt:
        assert found == expected, which
    return found != expected


def test_the_cases_are_made_of_many_definitions_of_all_kinds_of_steps() -> None:
    """A case is one run of one definition with its outcomes, cut off at one of its commits: see above."""
    chances = [chance_of(seed) for seed in range(BATCHES * BATCH)]
    undisturbed = [played(chance, dying=False).undisturbed for chance in chances]
    assert sum(world.commits for world in undisturbed) >= 10_000
    ends = Counter(world.state().status for world in undisturbed)
    assert all(ends[status] >= 50 for status in ("COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"))
    assert len({chance.definitions[0].hash for chance in chances}) >= 500
    steps = [step for chance in chances for step in chance.definitions[0].steps]
    does = Counter(step.does for step in steps)
    assert all(does[kind] >= 100 for kind in ("action", "sleep", "signal", "child", "each", "participant"))
    said = [answer for chance in chances for answer in chance.says.values() if isinstance(answer, dict)]
    assert sum("skip" in answer for answer in said) >= 100
    assert sum(step.pivot for step in steps) >= 100
    assert {len(chance.definitions[0].steps) for chance in chances} == {1, 2, 3, 4, 5, 6, 7}
    compensation = Counter(chance.definitions[0].compensation for chance in chances)
    assert min(compensation["sequential"], compensation["parallel"]) >= 100
