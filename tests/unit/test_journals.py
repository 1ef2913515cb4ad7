"""Both journals that need no broker keep the port's promises; what a log remembers survives a crash at any
point."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sagahook.saga.code_context import CodeContext
from sagahook.saga.journal import Journal, OrderChanged, Requests, Stopped, play
from sagahook.saga.local import LocalJournal
from sagahook.saga.replay import Answered, Asked, Replay
from tests.journal_conformance import JournalConformance, RecordingJournal, World, run


class LocalWorld:
    """In one process there is one journal, and it remembers as long as that lives."""

    def __init__(self) -> None:
        self.journal = LocalJournal(saga="order", saga_id="order-1")

    def open(self) -> Journal:
        return self.journal

    async def undo(self, journal: Journal) -> None:
        await self.journal.undo()


class RecordedWorld:
    def __init__(self) -> None:
        self.last = RecordingJournal()

    def open(self) -> Journal:
        self.last = RecordingJournal(self.last.replay.log)
        return self.last

    async def undo(self, journal: Journal) -> None:
        await self.last.undo()


class TestLocalJournal(JournalConformance):
    @pytest.fixture
    def world(self) -> World:
        return LocalWorld()


class TestRecordingJournal(JournalConformance):
    @pytest.fixture
    def world(self) -> World:
        return RecordedWorld()


Program = list[Any]
"""Things done one after the other: a number is a step that takes so many turns of the loop, a list of
programs are branches that run at once."""

programs = st.recursive(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    lambda inner: st.lists(
        st.integers(0, 6) | st.lists(inner, min_size=2, max_size=3), min_size=1, max_size=3
    ),
    max_leaves=8,
)


async def perform(ctx: CodeContext, program: Program, called: Counter[str], at: str = "s") -> Any:
    results = []
    for place, thing in enumerate(program):
        name = f"{at}.{place}"
        if isinstance(thing, int):
            results.append(await ctx.step(name, turn, name, thing, called))
        else:
            branches = (perform(ctx, branch, called, f"{name}-{n}") for n, branch in enumerate(thing))
            results.append(await asyncio.gather(*branches))
    return results


async def turn(name: str, turns: int, called: Counter[str]) -> str:
    called[name] += 1
    for _ in range(turns):
        await asyncio.sleep(0)
    return f"result of {name}"


@settings(max_examples=50)
@given(programs)
@example([[[0, 0], [[[0], [[[0], [0]]]]]]])  # its branches need more turns to ask than a step takes
def test_after_a_crash_at_any_point_of_its_log_a_function_comes_to_the_same(program: Program) -> None:
    async def crash_everywhere() -> None:
        called: Counter[str] = Counter()
        whole = RecordingJournal()
        result = await run(lambda ctx: perform(ctx, program, called), whole)
        log = whole.replay.log
        for length in range(len(log) + 1):
            prefix = log[:length]
            names = {entry.number: entry.name for entry in prefix if isinstance(entry, Asked)}
            answered = {names[entry.number] for entry in prefix if isinstance(entry, Answered)}
            again: Counter[str] = Counter()
            journal = RecordingJournal(prefix)
            assert await run(lambda ctx, again=again: perform(ctx, program, again), journal) == result
            journal.replay.finish()
            assert again.keys() == called.keys() - answered
            assert set(again.values()) <= {1}

    asyncio.run(crash_everywhere())


async def test_branches_ask_in_the_order_in_which_their_answers_came_the_first_time() -> None:
    """b ended before a, so that b's branch asked first: were both answered at once on replay, a's would."""
    log: list[Asked | Answered] = [
        Asked(1, "a", "action"),
        Asked(2, "b", "action"),
        Answered(2, "b"),
        Asked(3, "after_b", "action"),
        Answered(1, "a"),
        Asked(4, "after_a", "action"),
    ]
    called: list[str] = []

    async def branch(ctx: CodeContext, name: str) -> Any:
        await ctx.step(name, called.append, name)
        return await ctx.step(f"after_{name}", called.append, f"after_{name}")

    async def function(ctx: CodeContext) -> Any:
        return await asyncio.gather(branch(ctx, "a"), branch(ctx, "b"))

    await run(function, RecordingJournal(log))
    assert sorted(called) == ["after_a", "after_b"]


async def test_a_function_that_asks_for_less_than_its_log_remembers_has_changed() -> None:
    replay = Replay([Asked(1, "charge", "action"), Answered(1, 5)])
    with pytest.raises(
        OrderChanged, match="request 1: the log remembers charge, the function asks for nothing more"
    ):
        replay.finish()


@pytest.mark.parametrize("plain", [True, False])
async def test_a_function_is_stopped_wherever_it_waits_and_undoes_nothing(plain: bool) -> None:
    """So that a process can end: the run is played again by another one."""
    waiting = asyncio.Event()
    caught: list[str] = []

    async def hang() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def plainly(ctx: CodeContext) -> None:
        try:
            ctx.step("hang", hang, compensate=lambda: caught.append("undone"))
        except Exception as raised:
            caught.append(repr(raised))

    async def awaiting(ctx: CodeContext) -> None:
        try:
            await ctx.step("hang", hang, compensate=lambda: caught.append("undone"))
        except Exception as raised:
            caught.append(repr(raised))

    requests = Requests(RecordingJournal(), asyncio.get_running_loop())
    ctx = CodeContext(requests, saga="order", saga_id="order-1")
    task = asyncio.create_task(play(plainly if plain else awaiting, requests, ctx))
    await waiting.wait()
    requests.stop()
    task.cancel()
    with pytest.raises(Stopped):
        await task
    assert caught == []
