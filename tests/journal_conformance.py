"""What every journal of code-first sagas must do (the port `sagahook.saga.journal.Journal`), whatever it
remembers in.

A test module derives from `JournalConformance` and says in `world` how to open a journal of its kind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pytest

from sagahook.saga.calls import settled
from sagahook.saga.code_context import CodeContext
from sagahook.saga.context import StepContext
from sagahook.saga.errors import PermanentError
from sagahook.saga.journal import ActionCall, Journal, OrderChanged, Requests, StepFailed, UndoCall, play
from sagahook.saga.replay import Answered, Asked, Replay
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Retry, StepDefinition
from sagahook_schemas.identity import Phase, idempotency_key
from sagahook_schemas.values import kept, told

AT_ONCE = Retry(max=2, initial=0.0)
ONCE = Retry(max=0)


class World(Protocol):
    """One run of a function, in one process after another."""

    def open(self) -> Journal:
        """The journal as a new process finds it: it remembers what the ones before it remembered."""
        ...

    async def undo(self, journal: Journal) -> None:
        """What whoever plays the function does when it has failed."""
        ...


async def run(function: Callable[..., Any], journal: Journal) -> Any:
    requests = Requests(journal, asyncio.get_running_loop())
    ctx = CodeContext(requests, saga="order", saga_id="order-1")
    return await asyncio.wait_for(play(function, requests, ctx), timeout=30)


class RecordingJournal:
    """The simplest durable journal: its log is a list, which a new one can be given, or a part of it, as
    after a crash."""

    def __init__(self, log: Sequence[Asked | Answered] = ()) -> None:
        self.replay = Replay(log)
        self.undo_calls: dict[int, tuple[StepDefinition, UndoCall]] = {}
        self._results = {entry.number: entry.result for entry in log if isinstance(entry, Answered)}
        self._failed: StepFailed | None = None
        self._errors: dict[int, Exception] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def request(
        self,
        number: int,
        definition: StepDefinition,
        action: ActionCall | None,
        compensation: UndoCall | None,
        arguments: JsonValue,
    ) -> JsonValue:
        if self._failed is not None:
            raise StepFailed(self._failed.step, self._failed.error)
        self.replay.check(number, definition)
        if compensation is not None:
            self.undo_calls[number] = definition, compensation
        if not self.replay.knows(number):
            self.replay.add(Asked(number, definition.name, definition.does))
        if not self.replay.answered(number):
            task = asyncio.create_task(self._carry_out(number, definition, action))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            return await self.replay.answer(number, definition)
        except StepFailed as failed:
            self._failed = self._failed or failed
            raise failed from self._errors.get(number)

    async def undo(self) -> None:
        for number, (definition, undo) in sorted(self.undo_calls.items(), reverse=True):
            if number in self._results:
                context = step_context(definition.name, "compensation", 1)
                await settled(undo, context, self._results[number])

    async def _carry_out(self, number: int, definition: StepDefinition, action: ActionCall | None) -> None:
        try:
            result = kept(await self._attempts(definition, action), 1_000) if action is not None else None
        except Exception as raised:
            self._errors[number] = raised
            self.replay.add(Answered(number, error=told(raised, 1_000)))
        else:
            self._results[number] = result
            self.replay.add(Answered(number, result))

    async def _attempts(self, definition: StepDefinition, action: ActionCall) -> Any:
        for attempt in range(1, definition.retry.max + 2):
            try:
                async with asyncio.timeout(definition.timeout):
                    return await settled(action, step_context(definition.name, "action", attempt))
            except Exception as raised:
                if isinstance(raised, PermanentError) or attempt > definition.retry.max:
                    raise
        return None


def step_context(step: str, phase: Phase, attempt: int) -> StepContext:
    return StepContext(
        saga="order",
        saga_id="order-1",
        run=1,
        step=step,
        phase=phase,
        attempt=attempt,
        correlation_id="",
        idempotency_key=idempotency_key("order-1", 1, step, phase),
        action_key=idempotency_key("order-1", 1, step, "action"),
        context={},
        results={},
    )


def never() -> None:
    raise AssertionError("it was called, and should not have been")


class JournalConformance:
    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    async def test_a_request_comes_to_what_its_action_returns(self, world: World) -> None:
        async def function(ctx: CodeContext) -> Any:
            return [await ctx.step("add", lambda a, b: a + b, 3, 4), await ctx.step("say", lambda: "done")]

        assert await run(function, world.open()) == [7, "done"]

    async def test_a_result_is_the_same_copy_at_once_as_after_a_crash(self, world: World) -> None:
        made = {"items": [1]}

        async def function(ctx: CodeContext) -> Any:
            got = await ctx.step("make", lambda: (made, "a tuple"))
            made["items"].append(2)
            return got

        first = await run(function, world.open())
        assert first == [{"items": [1]}, "a tuple"]
        assert await run(function, world.open()) == first

    async def test_what_is_remembered_is_answered_and_not_run_again(self, world: World) -> None:
        called: list[str] = []

        async def function(ctx: CodeContext, stop_after_two: bool = False) -> Any:
            one = await ctx.step("one", called.append, "one")
            two = await ctx.step("two", lambda: called.append("two") or 2)  # type: ignore[func-returns-value]
            if stop_after_two:
                raise KeyError("the process dies here")
            return [one, two, await ctx.step("three", lambda: called.append("three") or 3)]  # type: ignore[func-returns-value]

        with pytest.raises(KeyError):
            await run(lambda ctx: function(ctx, True), world.open())
        assert called == ["one", "two"]
        assert await run(function, world.open()) == [None, 2, 3]
        assert called == ["one", "two", "three"]

    async def test_another_step_than_remembered_is_refused_and_nothing_is_run(self, world: World) -> None:
        async def before(ctx: CodeContext) -> None:
            await ctx.step("charge", lambda: 1)

        async def renamed(ctx: CodeContext) -> None:
            await ctx.step("bill", never)

        async def another_kind(ctx: CodeContext) -> None:
            await ctx.sleep("charge", 0)

        await run(before, world.open())
        with pytest.raises(OrderChanged, match=r"request 1: the log remembers charge.*asks for bill"):
            await run(renamed, world.open())
        with pytest.raises(OrderChanged, match="sleep"):
            await run(another_kind, world.open())

    async def test_a_function_cannot_go_on_after_its_order_has_changed(self, world: World) -> None:
        async def before(ctx: CodeContext) -> None:
            await ctx.step("charge", lambda: 1)

        async def stubborn(ctx: CodeContext) -> str:
            for name in ("bill", "charge"):
                with suppress(Exception):
                    await ctx.step(name, never)
            return "it swallowed everything"

        await run(before, world.open())
        with pytest.raises(OrderChanged):
            await run(stubborn, world.open())

    async def test_a_step_that_fails_for_good_ends_the_function(self, world: World) -> None:
        async def decline() -> None:
            raise ValueError("no money")

        async def function(ctx: CodeContext) -> str:
            with pytest.raises(StepFailed) as charging:
                await ctx.step("charge", decline, retry=ONCE)
            assert isinstance(charging.value.__cause__, ValueError)
            with suppress(StepFailed):
                await ctx.step("ship", never)
            return "as if nothing had been"

        with pytest.raises(StepFailed) as raised:
            await run(function, world.open())
        assert (raised.value.step, raised.value.error) == ("charge", "ValueError: no money")

    async def test_attempts_follow_the_policy_under_one_idempotency_key(self, world: World) -> None:
        keys: list[tuple[int, str]] = []

        def third_time_lucky(ctx: StepContext) -> str:
            keys.append((ctx.attempt, ctx.idempotency_key))
            if ctx.attempt < 3:
                raise RuntimeError("not yet")
            return "lucky"

        async def function(ctx: CodeContext) -> Any:
            return await ctx.step("draw", third_time_lucky, retry=AT_ONCE)

        assert await run(function, world.open()) == "lucky"
        assert [attempt for attempt, _ in keys] == [1, 2, 3]
        assert {key for _, key in keys} == {"order-1/1/draw/action"}

    async def test_a_permanent_error_is_not_tried_again(self, world: World) -> None:
        calls: list[int] = []

        def refuse() -> None:
            calls.append(1)
            raise PermanentError("the card is stolen")

        async def function(ctx: CodeContext) -> Any:
            return await ctx.step("charge", refuse, retry=AT_ONCE)

        with pytest.raises(StepFailed, match="the card is stolen"):
            await run(function, world.open())
        assert calls == [1]

    async def test_a_time_out_ends_an_attempt(self, world: World) -> None:
        async def function(ctx: CodeContext) -> Any:
            return await ctx.step("hang", asyncio.Event().wait, timeout=0.01, retry=ONCE)

        with pytest.raises(StepFailed, match="TimeoutError"):
            await run(function, world.open())

    async def test_plain_actions_block_nobody_and_may_return_something_to_await(self, world: World) -> None:
        async def named(name: str) -> str:
            return f"{name} in {threading.current_thread().name}"

        async def function(ctx: CodeContext) -> Any:
            return [
                await ctx.step("plain", lambda: threading.current_thread().name),
                await ctx.step("awaitable", lambda name: named(name=name), "later"),
            ]

        plain, awaitable = await run(function, world.open())
        here = threading.current_thread().name
        assert plain != here
        assert awaitable == f"later in {here}"

    async def test_steps_that_are_awaited_together_are_under_way_together(self, world: World) -> None:
        met = asyncio.Barrier(3)

        async def meet(name: str) -> str:
            await met.wait()
            return name

        async def function(ctx: CodeContext) -> Any:
            return await asyncio.gather(*(ctx.step(name, meet, name) for name in "abc"))

        assert await run(function, world.open()) == ["a", "b", "c"]

    async def test_a_plain_function_is_a_saga_too(self, world: World) -> None:
        def function(ctx: CodeContext) -> Any:
            return ctx.step("one", lambda: 1) + ctx.step("two", lambda: 2)

        assert await run(function, world.open()) == 3
        assert await run(function, world.open()) == 3

    async def test_compensations_are_those_of_the_replay_with_the_results_of_the_log(
        self, world: World
    ) -> None:
        undone: list[Any] = []

        def function(process: str, fails: bool) -> Callable[[CodeContext], Awaitable[None]]:
            def undo(name: str) -> Callable[[Any], None]:
                return lambda result: undone.append((process, name, result))

            async def steps(ctx: CodeContext) -> None:
                await ctx.step("reserve", lambda: "r", compensate=undo("reserve"))
                await ctx.step("charge", lambda: "c", compensate=undo("charge"))
                if fails:
                    await ctx.step("ship", never, retry=ONCE)

            return steps

        await run(function("first", fails=False), world.open())
        journal = world.open()
        with pytest.raises(StepFailed):
            await run(function("second", fails=True), journal)
        await world.undo(journal)
        assert undone == [("second", "charge", "c"), ("second", "reserve", "r")]
