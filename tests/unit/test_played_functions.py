"""Functions beside their logs: the engine's journal keeps the port's promises, and whatever a crash, a lost
transaction or other code does to a function, its saga goes on, is undone or says why it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from sagahook.saga import CodeContext, Saga, saga
from sagahook.saga.errors import PermanentError
from sagahook.saga.journal import Journal, StepFailed
from sagahook_runner.domain.commands import FunctionEnded, Operate, Park, RequestStep
from sagahook_runner.handlers import playing
from sagahook_schemas.commands import CancelSaga, MigrateSaga, RetrySaga, SignalSaga
from sagahook_schemas.definitions import Retry
from tests.journal_conformance import JournalConformance, World
from tests.played_world import PlayedWorld

ONCE = Retry(max=0)
Worlds = Callable[..., PlayedWorld]


@pytest_asyncio.fixture
async def worlds() -> AsyncIterator[Worlds]:
    made: list[PlayedWorld] = []

    def make(*sagas: type[Saga], rest: float = 60.0) -> PlayedWorld:
        made.append(PlayedWorld(*sagas, rest=rest))
        return made[-1]

    yield make
    for world in made:
        world.die()


@saga(name="hosting")
async def hosting(ctx: CodeContext, event: dict[str, Any]) -> None:
    """A test plays its own function against the journal of this one."""
    await asyncio.Event().wait()


class EngineWorld:
    def __init__(self) -> None:
        self.played: PlayedWorld | None = None

    def open(self) -> Journal:
        if self.played is None:
            self.played = PlayedWorld(hosting)
            self.played.start("hosting", "order-1")
        else:
            self.played.restart()
        return self.played.conductors.conductor(0, self.played.state("order-1"))

    async def undo(self, journal: Journal) -> None:
        played = self.played
        assert played is not None
        await played.until(lambda: played.state("order-1").status == "ROLLED_BACK")


class TestEngineJournal(JournalConformance):
    @pytest_asyncio.fixture
    async def world(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:  # type: ignore[override]
        monkeypatch.setattr(playing, "TIDYING_SECONDS", 0.01)
        world = EngineWorld()
        yield world
        if world.played is not None:
            world.played.die()


async def test_a_function_runs_to_its_end_and_the_log_has_its_steps(worlds: Worlds) -> None:
    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return await ctx.step("add", lambda: event["a"] + event["b"])

    world = worlds(order)
    world.start("order", a=3, b=4)
    assert (await world.until_ends()).status == "COMPLETED"
    assert world.kinds() == [
        "saga.started",
        "step.declared",
        "step.scheduled",
        "step.completed",
        "saga.completed",
    ]
    assert world.events[-1].result == 7  # type: ignore[attr-defined]


async def test_a_function_that_ends_before_a_step_that_it_did_not_await_waits_for_it(worlds: Worlds) -> None:
    go = asyncio.Event()
    asked: list[Any] = []

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> str:
        asked.append(asyncio.ensure_future(ctx.step("slow", go.wait)))
        await ctx.step("quick", lambda: None)
        return "ended"

    world = worlds(order)
    world.start("order")
    await world.until(lambda: "step.completed" in world.kinds())
    go.set()
    assert (await world.until_ends()).status == "COMPLETED"


async def test_what_a_function_does_to_what_it_is_given_is_not_done_to_the_saga(worlds: Worlds) -> None:
    go = asyncio.Event()

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        made = await ctx.step("make", lambda: {"items": [1]})
        made["items"].append(2)
        event["id"] = ctx.context["id"] = "other"  # type: ignore[index]
        await ctx.step("hang", go.wait)

    world = worlds(order)
    world.start("order", id="mine")
    await world.until(lambda: "hang" in world.state().open)
    assert world.state().results["make"] == {"items": [1]}
    assert world.state().context == {"id": "mine"}


@pytest.mark.parametrize("raised", [KeyError("gone"), SystemExit(3), asyncio.CancelledError("own")])
async def test_whatever_a_function_raises_undoes_its_saga(worlds: Worlds, raised: BaseException) -> None:
    undone: list[int] = []

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: 7, compensate=undone.append)
        raise raised

    world = worlds(order)
    world.start("order")
    state = await world.until_ends()
    assert (state.status, state.error) == ("ROLLED_BACK", f"{type(raised).__name__}: {raised}")
    assert undone == [7]


async def test_a_request_that_was_lost_beside_a_long_sleep_is_made_again_by_the_next_process(
    worlds: Worlds,
) -> None:
    done: list[str] = []

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await asyncio.gather(ctx.sleep("pause", 3_600), ctx.step("charge", done.append, "charged"))

    world = worlds(order)
    world.loses = lambda command: isinstance(command, RequestStep) and command.definition.name == "charge"
    world.start("order")
    await world.until(lambda: "pause" in world.state().open)
    world.loses = lambda command: False
    world.restart()
    await world.until(lambda: done == ["charged"])
    world.advance(3_601)
    assert (await world.until_ends()).status == "COMPLETED"


async def test_what_a_function_asked_for_while_its_saga_was_suspended_is_asked_for_after_a_retry(
    worlds: Worlds,
) -> None:
    go = asyncio.Event()

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("one", go.wait)
        await ctx.step("two", lambda: None)

    world = worlds(order)
    world.start("order")
    await world.until(lambda: "one" in world.state().open)
    world.apply("saga", Park("an operator looks at it"))
    go.set()
    await world.until(lambda: "one" in world.state().results)
    world.apply("saga", Operate(RetrySaga(actor="anna", reason="seen"), "c-1"))
    assert (await world.until_ends()).status == "COMPLETED"


async def test_a_function_that_only_waits_rests_and_is_played_again_when_its_signal_comes(
    worlds: Worlds,
) -> None:
    plays: list[int] = []

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> Any:
        plays.append(await ctx.step("one", lambda: 1))
        return await ctx.signal("approved")

    world = worlds(order, rest=0.05)
    world.start("order")
    await world.until(lambda: "approved" in world.state().open)
    await world.until(lambda: not world.conductors._playing, "rest")
    world.apply(
        "saga", Operate(SignalSaga(signal="approved", signal_id="s", payload="yes", actor="anna"), "c")
    )
    assert (await world.until_ends()).status == "COMPLETED"
    assert plays == [1, 1]
    assert world.events[-1].result == "yes"  # type: ignore[attr-defined]


async def test_a_function_whose_step_is_under_way_does_not_rest(worlds: Worlds) -> None:
    go = asyncio.Event()
    plays: list[int] = []

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        plays.append(1)
        await ctx.step("slow", go.wait)

    world = worlds(order, rest=0.01)
    world.start("order")
    await world.until(lambda: "slow" in world.state().open)
    await asyncio.sleep(0.1)
    go.set()
    await world.until_ends()
    assert plays == [1]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_function_that_is_cancelled_while_it_waits_may_tidy_up_before_its_steps_are_undone(
    worlds: Worlds, plain: bool
) -> None:
    heard: list[str] = []

    def undo() -> None:
        heard.append("undone")

    if plain:

        @saga(name="order")
        def order(ctx: CodeContext, event: dict[str, Any]) -> None:
            ctx.step("one", lambda: 1, compensate=undo)
            try:
                ctx.signal("approved")
            except StepFailed as failed:
                heard.append(failed.error)
    else:

        @saga(name="order")
        async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
            await ctx.step("one", lambda: 1, compensate=undo)
            try:
                await ctx.signal("approved")
            except StepFailed as failed:
                heard.append(failed.error)

    world = worlds(order)
    world.start("order")
    await world.until(lambda: "approved" in world.state().open)
    world.apply("saga", Operate(CancelSaga(actor="anna", reason="no stock"), "c-1"))
    assert (await world.until_ends()).status == "ROLLED_BACK"
    assert heard == ["Cancelled: by anna, no stock", "undone"]


async def test_a_failed_run_with_nothing_to_undo_lets_its_function_hear_why(worlds: Worlds) -> None:
    heard = asyncio.Event()

    def decline() -> None:
        raise PermanentError("declined")

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        try:
            await ctx.step("charge", decline)
        except StepFailed:
            heard.set()

    world = worlds(order)
    world.start("order")
    assert (await world.until_ends()).error == "PermanentError: declined"
    await asyncio.wait_for(heard.wait(), 10)


async def test_another_order_of_steps_suspends_the_saga_and_the_old_code_goes_on_after_a_retry(
    worlds: Worlds,
) -> None:
    done: list[str] = []
    go = asyncio.Event()

    def version(*names: str) -> type[Saga]:
        @saga(name="order")
        async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
            for name in names:
                await ctx.step(name, done.append, name)
            await ctx.step("last", go.wait)

        return order

    world = worlds(version("one", "two"))
    world.start("order")
    await world.until(lambda: "last" in world.state().open)
    world.restart(version("two", "one"))
    state = await world.until_ends()
    assert (state.status, state.cause) == ("SUSPENDED", "order")
    assert "request 1: the log remembers one, the function asks for two" in (state.reason or "")
    world.restart(version("one", "two"))
    go.set()
    world.apply("saga", Operate(RetrySaga(actor="anna", reason="rolled back"), "c-1"))
    assert (await world.until_ends()).status == "COMPLETED"
    assert done == ["one", "two"]


async def test_a_function_that_awaits_one_after_the_other_what_it_asked_for_at_once_is_suspended(
    worlds: Worlds,
) -> None:
    """The answer that it waits for comes, by its log, after a request that it makes only later."""
    go = asyncio.Event()

    @saga(name="order")
    async def before(ctx: CodeContext, event: dict[str, Any]) -> None:
        await asyncio.gather(ctx.step("one", lambda: 1), ctx.step("two", lambda: 2))
        await ctx.step("last", go.wait)

    @saga(name="order")
    async def after(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("one", lambda: 1)
        await ctx.step("two", lambda: 2)
        await ctx.step("last", go.wait)

    world = worlds(before, rest=0.05)
    world.start("order")
    await world.until(lambda: "last" in world.state().open)
    world.restart(after)
    state = await world.until_ends()
    assert (state.status, state.cause) == ("SUSPENDED", "order")


async def test_other_code_without_the_compensation_that_is_needed_suspends_the_saga(worlds: Worlds) -> None:
    undone: list[str] = []

    def version(*names: str) -> type[Saga]:
        @saga(name="order")
        async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
            for name in names:
                await ctx.step(name, lambda: None, compensate=lambda name=name: undone.append(name))
            await ctx.signal("approved")

        return order

    world = worlds(version("one", "two"))
    world.start("order")
    await world.until(lambda: "approved" in world.state().open)
    world.restart(version("one"))
    world.apply("saga", Operate(CancelSaga(actor="anna"), "c-1"))
    state = await world.until_ends()
    assert (state.status, state.cause, state.resumes) == ("SUSPENDED", "order", "COMPENSATING")
    world.restart(version("one", "two"))
    world.apply("saga", Operate(RetrySaga(actor="anna"), "c-2"))
    assert (await world.until_ends()).status == "ROLLED_BACK"
    assert undone == ["two", "one"]


async def test_an_end_that_was_lost_is_told_again_by_the_next_process(worlds: Worlds) -> None:
    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("one", lambda: 1)

    world = worlds(order)
    world.loses = lambda command: isinstance(command, FunctionEnded)
    world.start("order")
    await world.until(lambda: "one" in world.state().results)
    world.loses = lambda command: False
    world.restart()
    assert (await world.until_ends()).status == "COMPLETED"


async def test_a_suspended_function_goes_on_when_it_is_migrated_to_code_that_asks_as_its_log_does(
    worlds: Worlds,
) -> None:
    go = asyncio.Event()

    def version(number: int, *names: str) -> type[Saga]:
        @saga(name="order", version=number)
        async def order(ctx: CodeContext, event: dict[str, Any]) -> int:
            for name in names:
                await ctx.step(name, lambda: None)
            await ctx.step("last", go.wait)
            return number

        return order

    world = worlds(version(1, "one"))
    world.start("order")
    await world.until(lambda: "last" in world.state().open)
    world.restart(version(1, "another"), version(2, "one"))
    assert (await world.until_ends()).cause == "order"
    go.set()
    world.apply("saga", Operate(MigrateSaga(actor="anna", version=2), "c-1"))
    assert (await world.until_ends()).status == "COMPLETED"
    assert world.events[-1].result == 2  # type: ignore[attr-defined]


async def test_an_attempt_that_waits_for_a_function_that_is_stopped_never_began(worlds: Worlds) -> None:
    """Its action was not called, so it counts as no failure, and as nothing that has to be undone."""
    called: list[str] = []
    go, asks = asyncio.Event(), asyncio.Event()
    asks.set()

    async def charge() -> None:
        called.append("charge")
        await go.wait()

    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await asks.wait()
        await ctx.step("charge", charge, retry=ONCE)

    world = worlds(order)
    world.start("order")
    await world.until(lambda: called == ["charge"])
    asks.clear()
    world.restart()
    await world.until(lambda: world.kinds().count("step.scheduled") == 2)
    world.apply("saga", Park("an operator looks at it"))
    world.apply("saga", Operate(RetrySaga(actor="anna", reason="seen"), "c-1"))
    await world.until(lambda: world.kinds().count("step.scheduled") == 3)
    asks.set()
    go.set()
    assert (await world.until_ends()).status == "COMPLETED"
    assert called == ["charge", "charge"]
    assert "step.failed" not in world.kinds()
    assert [event.reason for event in world.events if event.ce_type.endswith("attempt_lost.v1")] == [  # type: ignore[attr-defined]
        "crash",
        "never_begun",
    ]


async def test_a_function_that_catches_up_and_has_nothing_to_ask_rests_at_once(worlds: Worlds) -> None:
    @saga()
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.signal("approved")

    world = worlds(order)
    world.start("order")
    await world.until(lambda: "approved" in world.state().open)
    world.rest = 0.05
    world.restart()
    assert world.conductors._playing
    await world.until(lambda: not world.conductors._playing and world.conductors.has_room, "rest")
    assert world.kinds()[-1] == "step.awaiting"
