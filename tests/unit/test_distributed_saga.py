"""The imperative form: in async and in plain code, in one process and in a function that a log remembers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook.saga.aborted import SagaAborted
from sagahook.saga.code import saga
from sagahook.saga.code_context import CodeContext
from sagahook.saga.context import StepContext
from sagahook.saga.distributed import DistributedSaga, RollbackFailed, SagaClosed
from sagahook.saga.errors import DefinitionError, UnknownOutcomeError
from sagahook.saga.journal import OrderChanged, StepFailed
from sagahook.saga.local import LocalJournal
from sagahook_schemas.definitions import Retry
from tests.journal_conformance import RecordingJournal, run

ONCE = Retry(max=0)


class Declined(Exception):
    pass


async def decline() -> None:
    raise Declined("no money")


def decline_plainly() -> None:
    raise Declined("no money")


@pytest.fixture
def done() -> list[Any]:
    return []


def noting(done: list[Any], what: str, result: str) -> Callable[[], str]:
    def action() -> str:
        done.append(what)
        return result

    return action


# In async code


async def test_steps_give_their_results_and_a_commit_keeps_them(done: list[Any]) -> None:
    order = DistributedSaga("order-7", "anna")
    assert order.get_status() == {
        "saga_id": "order-7",
        "user_id": "anna",
        "state": "pending",
        "total_steps": 0,
        "completed_steps": 0,
        "failed_at": None,
        "error": None,
    }
    assert (
        await order.execute_step("reserve", lambda: "reserved", lambda: done.append("released")) == "reserved"
    )
    assert order.get_status()["state"] == "executing"
    await order.commit()
    status = order.get_status()
    assert (status["state"], status["total_steps"], status["completed_steps"]) == ("committed", 1, 1)
    assert done == []


async def test_a_failing_step_undoes_the_completed_ones_the_last_first(done: list[Any]) -> None:
    order = DistributedSaga("order-7", "anna")
    await order.execute_step("reserve", lambda: "r", lambda: done.append("release"))
    await order.execute_step("pack", lambda: "p", lambda result: done.append(f"unpack {result}"))
    await order.execute_step("note", lambda: "n", None)
    with pytest.raises(SagaAborted) as aborted:
        await order.execute_step("charge", decline, lambda: done.append("refund"))
    assert isinstance(aborted.value.__cause__, Declined)
    assert done == ["unpack p", "release"]
    assert order.get_status() == {
        "saga_id": "order-7",
        "user_id": "anna",
        "state": "rolled_back",
        "total_steps": 4,
        "completed_steps": 3,
        "failed_at": "charge",
        "error": "Declined: no money",
    }


async def test_an_action_is_called_once_unless_a_retry_is_asked_for(done: list[Any]) -> None:
    def failing() -> None:
        done.append("called")
        raise Declined("no money")

    with pytest.raises(SagaAborted):
        await DistributedSaga("order-7").execute_step("charge", failing)
    assert done == ["called"]
    with pytest.raises(SagaAborted):
        await DistributedSaga("order-7").execute_step("charge", failing, retry=Retry(max=2, initial=0))
    assert done == ["called"] * 4


async def test_results_need_not_be_json_in_one_process(done: list[Any]) -> None:
    thing = object()
    order = DistributedSaga("order-7")
    assert await order.execute_step("make", lambda: thing, done.append) is thing
    await order.rollback()
    assert done == [thing]


async def test_what_may_have_been_done_is_undone_too(done: list[Any]) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    def unknown() -> None:
        raise UnknownOutcomeError("the line went dead")

    for action in (hang, unknown):
        with pytest.raises(SagaAborted):
            await DistributedSaga("order-7").execute_step("charge", action, done.append, timeout=0.01)
    assert done == [None, None]


async def test_rolling_back_by_hand(done: list[Any]) -> None:
    order = DistributedSaga("order-7")
    await order.execute_step("reserve", lambda: "r", lambda: done.append("release"))
    await order.rollback()
    await order.rollback()
    assert done == ["release"]
    assert order.get_status()["state"] == "rolled_back"


async def test_what_cannot_be_undone_is_told_and_tried_again_when_asked(done: list[Any]) -> None:
    answers: list[Exception | None] = [ValueError("stock is away"), ValueError("still"), None]

    def release() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    order = DistributedSaga("order-7", rollback_retry=ONCE)
    await order.execute_step("pay", lambda: "p", lambda: done.append("pay"))
    await order.execute_step("reserve", lambda: "r", release)
    with pytest.raises(SagaAborted, match="could not be undone: reserve") as aborted:
        await order.execute_step("charge", decline)
    assert aborted.value.unresolved == {"reserve": "ValueError: stock is away"}
    assert done == ["pay"]
    assert order.get_status()["state"] == "failed"
    with pytest.raises(RollbackFailed, match="reserve"):
        await order.rollback()
    await order.rollback()
    assert order.get_status()["state"] == "rolled_back"


async def test_all_may_be_undone_at_once() -> None:
    met = asyncio.Barrier(2)
    order = DistributedSaga("order-7", "anna", parallel_rollback=True)
    await order.execute_step("reserve", lambda: None, met.wait)
    await order.execute_step("pack", lambda: None, met.wait)
    await order.rollback()
    assert order.get_status()["state"] == "rolled_back"


async def test_steps_may_be_executed_together(done: list[Any]) -> None:
    declined = asyncio.Event()

    async def reserve() -> str:
        await declined.wait()
        return "r"

    async def charge() -> None:
        declined.set()
        raise Declined("no money")

    order = DistributedSaga("order-7")
    results = await asyncio.gather(
        order.execute_step("reserve", reserve, done.append),
        order.execute_step("charge", charge),
        return_exceptions=True,
    )
    assert all(isinstance(result, SagaAborted) and result.step == "charge" for result in results)
    assert done == ["r"]
    assert order.get_status()["state"] == "rolled_back"


async def test_what_is_closed_stays_closed(done: list[Any]) -> None:
    committed = DistributedSaga("order-7")
    await committed.commit()
    await committed.commit()
    with pytest.raises(SagaClosed, match="order-7 is committed: it cannot execute the step 'late' any more"):
        await committed.execute_step("late", lambda: done.append("late"))
    with pytest.raises(SagaClosed, match="cannot roll back"):
        await committed.rollback()
    undone = DistributedSaga("order-8")
    await undone.rollback()
    with pytest.raises(SagaClosed, match="order-8 is rolled back: it cannot commit any more"):
        await undone.commit()
    with pytest.raises(SagaClosed):
        await undone.execute_step("late", lambda: done.append("late"))
    assert done == []


async def test_a_wrong_call_is_refused_and_undoes_nothing(done: list[Any]) -> None:
    order = DistributedSaga("order-7")
    await order.execute_step("reserve", lambda: "r", done.append)
    for name, action, rollback, wrong in (
        ("reserve", lambda: None, None, "two steps are named 'reserve'"),
        ("a/b", lambda: None, None, "the step name 'a/b'"),
        ("charge", lambda amount: amount, None, "missing a required argument"),
        ("charge", None, None, "must be something to call"),
        ("charge", lambda: None, 7, "must be something to call"),
    ):
        with pytest.raises(DefinitionError, match=wrong):
            await order.execute_step(name, action, rollback)  # type: ignore[arg-type]
    await order.commit()
    assert done == []
    assert order.get_status()["total_steps"] == 1


async def test_an_action_may_ask_for_its_idempotency_key() -> None:
    def charge(ctx: StepContext) -> str:
        return ctx.idempotency_key

    assert await DistributedSaga("order-7").execute_step("charge", charge) == "order-7/1/charge/action"


async def reserve_and_slip(order: DistributedSaga, undo: Callable[..., Any]) -> None:
    async with order:
        await order.execute_step("reserve", lambda: "r", undo)
        raise KeyError("a mistake")


async def test_leaving_a_block_by_an_error_rolls_back_and_lets_it_pass(done: list[Any]) -> None:
    order = DistributedSaga("order-7")
    with pytest.raises(KeyError):
        await reserve_and_slip(order, done.append)
    assert done == ["r"]
    assert order.get_status()["state"] == "rolled_back"
    assert order.get_status()["error"] == "KeyError: 'a mistake'"


async def test_an_error_that_passes_tells_what_could_not_be_undone() -> None:
    order = DistributedSaga("order-7", rollback_retry=ONCE)
    with pytest.raises(KeyError) as passed:
        await reserve_and_slip(order, decline)
    assert "reserve could not be undone" in passed.value.__notes__[0]
    assert order.get_status()["state"] == "failed"


async def test_leaving_a_block_without_an_error_commits() -> None:
    async with DistributedSaga("order-7") as order:
        await order.execute_step("reserve", lambda: "r")
    assert order.get_status()["state"] == "committed"


async def test_a_block_that_caught_a_failure_stays_rolled_back(done: list[Any]) -> None:
    async with DistributedSaga("order-7") as order:
        await order.execute_step("reserve", lambda: "r", done.append)
        with pytest.raises(SagaAborted):
            await order.execute_step("charge", decline)
    assert done == ["r"]
    assert order.get_status()["state"] == "rolled_back"


async def test_a_block_that_is_cancelled_is_rolled_back(done: list[Any]) -> None:
    async def body() -> None:
        async with DistributedSaga("order-7") as order:
            await order.execute_step("reserve", lambda: "r", done.append)
            done.append("waiting")
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    while "waiting" not in done:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["waiting", "r"]


async def test_in_async_code_a_plain_block_is_refused() -> None:
    with pytest.raises(TypeError, match="async with"), DistributedSaga("order-7"):
        pass


# In plain code


def test_plain_code_gets_results_and_not_awaitables(done: list[Any]) -> None:
    async def pack() -> str:
        await asyncio.sleep(0)
        return "packed"

    order = DistributedSaga("order-7", "anna")
    assert order.execute_step("reserve", lambda: "reserved", lambda: done.append("release")) == "reserved"
    assert order.execute_step("pack", pack, lambda: done.append("unpack")) == "packed"
    with pytest.raises(SagaAborted) as aborted:
        order.execute_step("charge", decline_plainly)
    assert isinstance(aborted.value.__cause__, Declined)
    assert done == ["unpack", "release"]
    assert order.get_status()["state"] == "rolled_back"


def test_plain_code_commits_and_rolls_back(done: list[Any]) -> None:
    first = DistributedSaga("order-7")
    first.execute_step("reserve", lambda: "r", done.append)
    first.commit()
    assert first.get_status()["state"] == "committed"
    second = DistributedSaga("order-8")
    second.execute_step("reserve", lambda: "s", done.append)
    second.rollback()
    assert done == ["s"]


def test_plain_actions_run_in_the_thread_that_executes_them() -> None:
    """A database connection may belong to it."""
    threads: list[int] = []
    order = DistributedSaga("order-7")
    order.execute_step(
        "reserve",
        lambda: threads.append(threading.get_ident()),
        lambda: threads.append(threading.get_ident()),
    )
    order.rollback()
    assert threads == [threading.get_ident()] * 2


@pytest.mark.parametrize("error", [KeyError("a mistake"), KeyboardInterrupt()])
def test_a_plain_block_rolls_back_on_an_error_and_on_an_interrupt(
    done: list[Any], error: BaseException
) -> None:
    def interrupted() -> None:
        raise error

    def body(order: DistributedSaga) -> None:
        with order:
            order.execute_step("reserve", lambda: "r", done.append)
            order.execute_step("pack", lambda: "p", done.append)
            interrupted()

    order = DistributedSaga("order-8")
    with pytest.raises(type(error)):
        body(order)
    assert done == ["p", "r"]
    assert order.get_status()["state"] == "rolled_back"


def test_an_action_that_is_interrupted_may_have_been_done_and_is_undone(done: list[Any]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def body() -> None:
        with DistributedSaga("order-8") as order:
            order.execute_step("charge", interrupted, done.append)

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == [None]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5), st.integers(0, 5), st.booleans())
def test_plain_and_async_code_do_the_same(
    steps: list[tuple[bool, bool]], fails_at: int, parallel: bool
) -> None:
    """Each step: whether its action is async, and whether it can be undone."""

    def parts(done: list[str], number: int, is_async: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def act() -> str:
            if number == fails_at:
                raise Declined("no")
            done.append(f"do {number}")
            return f"result {number}"

        async def act_async() -> str:
            return act()

        return (act_async if is_async else act), lambda result: done.append(f"undo {number} of {result}")

    async def in_async_code() -> tuple[Any, ...]:
        done: list[str] = []
        order = DistributedSaga("order-7", "anna", parallel)
        try:
            for number, (is_async, undoable) in enumerate(steps):
                action, undo = parts(done, number, is_async)
                await order.execute_step(f"s{number}", action, undo if undoable else None)
            await order.commit()
        except SagaAborted as aborted:
            return sorted(done), order.get_status(), str(aborted)
        return sorted(done), order.get_status(), ""

    def in_plain_code() -> tuple[Any, ...]:
        done: list[str] = []
        order = DistributedSaga("order-7", "anna", parallel)
        try:
            for number, (is_async, undoable) in enumerate(steps):
                action, undo = parts(done, number, is_async)
                order.execute_step(f"s{number}", action, undo if undoable else None)
            order.commit()
        except SagaAborted as aborted:
            return sorted(done), order.get_status(), str(aborted)
        return sorted(done), order.get_status(), ""

    assert asyncio.run(in_async_code()) == in_plain_code()


# In a function that a log remembers


def checkout(done: list[Any], charge: Callable[..., Any], plain: bool) -> Callable[[CodeContext], Any]:
    def plainly(ctx: CodeContext) -> Any:
        order = DistributedSaga("order-7", "anna")
        order.execute_step(
            "reserve", noting(done, "reserve", "r"), lambda result: done.append(f"release {result}")
        )
        charged = order.execute_step("charge", charge, lambda: done.append("refund"))
        order.commit()
        return [charged, order.get_status()["state"]]

    async def awaiting(ctx: CodeContext) -> Any:
        order = DistributedSaga("order-7", "anna")
        await order.execute_step(
            "reserve", noting(done, "reserve", "r"), lambda result: done.append(f"release {result}")
        )
        charged = await order.execute_step("charge", charge, lambda: done.append("refund"))
        await order.commit()
        return [charged, order.get_status()["state"]]

    return plainly if plain else awaiting


@pytest.mark.parametrize("plain", [True, False])
async def test_recorded_steps_answer_from_the_log_after_a_crash_anywhere(
    done: list[Any], plain: bool
) -> None:
    whole = RecordingJournal()
    result = await run(checkout(done, noting(done, "charge", "c"), plain), whole)
    assert result == ["c", "committed"]
    log = whole.replay.log
    assert [entry.number for entry in log] == [1, 1, 2, 2, 3, 3]
    for length, repeated in ((0, ["reserve", "charge"]), (2, ["charge"]), (3, ["charge"]), (4, []), (6, [])):
        done.clear()
        journal = RecordingJournal(log[:length])
        assert await run(checkout(done, noting(done, "charge", "c"), plain), journal) == result
        assert done == repeated


@pytest.mark.parametrize("plain", [True, False])
async def test_in_a_log_a_failing_step_ends_the_function_and_the_engine_undoes(
    done: list[Any], plain: bool
) -> None:
    journal = RecordingJournal()
    with pytest.raises(StepFailed, match="no money"):
        await run(checkout(done, decline, plain), journal)
    assert done == ["reserve"]
    await journal.undo()
    assert done == ["reserve", "release r"]


@pytest.mark.parametrize("plain", [True, False])
async def test_in_a_log_an_error_in_a_block_calls_the_run_off(done: list[Any], plain: bool) -> None:
    def plainly(ctx: CodeContext) -> str:
        try:
            with DistributedSaga("order-7") as order:
                order.execute_step("reserve", lambda: "r", done.append)
                raise KeyError("a mistake")
        except KeyError:
            return order.get_status()["state"]  # type: ignore[no-any-return]

    async def awaiting(ctx: CodeContext) -> str:
        try:
            async with DistributedSaga("order-7") as order:
                await order.execute_step("reserve", lambda: "r", done.append)
                raise KeyError("a mistake")
        except KeyError:
            return order.get_status()["state"]  # type: ignore[no-any-return]

    journal = RecordingJournal()
    with pytest.raises(StepFailed, match="KeyError: 'a mistake'"):
        await run(plainly if plain else awaiting, journal)
    await journal.undo()
    assert done == ["r"]


async def test_in_a_log_changed_steps_are_found_out(done: list[Any]) -> None:
    async def renamed(ctx: CodeContext) -> None:
        await DistributedSaga("order-7").execute_step("book", lambda: done.append("book"))

    whole = RecordingJournal()
    await run(checkout([], lambda: "c", plain=False), whole)
    with pytest.raises(OrderChanged, match="remembers reserve, the function asks for book"):
        await run(renamed, RecordingJournal(whole.replay.log))
    assert done == []


async def test_a_saga_inside_an_action_is_its_own(done: list[Any]) -> None:
    """Existing code that is called from a step keeps working as it did."""

    async def existing() -> str:
        async with DistributedSaga("inner") as inner:
            return await inner.execute_step("charge", lambda: "charged")  # type: ignore[no-any-return]

    def existing_plain() -> str:
        with DistributedSaga("inner") as inner:
            return inner.execute_step("charge", lambda: "charged")  # type: ignore[no-any-return]

    async def function(ctx: CodeContext) -> Any:
        return [
            await ctx.step("one", existing),
            await ctx.step("two", existing_plain),
            await ctx.step("three", lambda name: existing(), "x"),
        ]

    journal = RecordingJournal()
    assert await run(function, journal) == ["charged"] * 3
    assert len(journal.replay.log) == 6


async def test_the_same_function_runs_in_one_process_too(done: list[Any]) -> None:
    body = checkout(done, decline, plain=True)

    @saga()
    def checkout_saga(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return body(ctx)

    with pytest.raises(SagaAborted, match="'charge'") as aborted:
        await checkout_saga({})
    assert isinstance(aborted.value.__cause__, SagaAborted | Declined)
    assert done == ["reserve", "release r"]


async def test_outside_a_function_it_can_be_given_its_journal() -> None:
    journal = LocalJournal(saga_id="order-7", json_only=False)
    order = DistributedSaga("order-7", journal=journal)
    await order.execute_step("reserve", lambda: "r")
    assert journal.completed == ("reserve",)
