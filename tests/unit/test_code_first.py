"""A function under `@saga`: what it says, what its callables are given, how it runs in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook.saga.aborted import SagaAborted
from sagahook.saga.app import SagaApp, load_app
from sagahook.saga.calls import as_action, as_undo, is_async, settled
from sagahook.saga.code import CodeSaga, saga
from sagahook.saga.code_context import CodeContext, step_definition
from sagahook.saga.context import StepContext, continue_after
from sagahook.saga.errors import DefinitionError, RetryLater, UnknownOutcomeError
from sagahook.saga.journal import OrderChanged
from sagahook.saga.language import Saga, trigger
from sagahook.saga.local import LocalJournal
from sagahook_schemas.definitions import Retry
from tests.journal_conformance import step_context

ONCE = Retry(max=0)
CTX = step_context("charge", "action", 1)


class Clock:
    """Waits without waiting, and remembers for how long."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    def journal(self, **options: Any) -> LocalJournal:
        return LocalJournal(saga="order", saga_id="order-1", sleep=self.sleep, dice=lambda: 0.5, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def undone() -> list[Any]:
    return []


def fail(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


# What the function is


def test_a_function_is_a_saga_that_an_app_can_hold() -> None:
    @saga(version=3, compensation="parallel", deadline=60, attributes={"order": "id"})
    async def ship_order(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    definition = ship_order.definition
    assert issubclass(ship_order, Saga)
    assert (definition.name, definition.version, definition.code, definition.steps) == (
        "ship_order",
        3,
        True,
        (),
    )
    assert (definition.compensation, definition.deadline) == ("parallel", 60)
    assert definition.attributes == {"order": "id"}
    app = SagaApp([ship_order()])
    assert app.get("ship_order", 3) is not None


def test_its_definition_differs_from_that_of_a_class_without_steps() -> None:
    @saga(name="order")
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    class Order(Saga): ...

    assert order.definition.hash != Order.definition.hash


async def test_its_event_is_the_body_or_what_is_made_of_it() -> None:
    @saga(source="shop", event="order.created", idempotency_key="order.id")
    async def whole(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    @saga(source="shop", context=lambda body: {"id": body[0]} if body else None)
    async def part(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    (found,) = whole.definition.triggers
    assert (found.source, found.event, found.idempotency_key) == ("shop", "order.created", "order.id")
    accept: Any = whole().handler(0)
    assert await accept({"order": {"id": 7}}) == {"order": {"id": 7}}
    with pytest.raises(TypeError, match="needs a JSON object"):
        await accept([7])
    accept = part().handler(0)
    assert await accept([7]) == {"id": 7}
    assert await accept([]) is None


def test_further_triggers_stand_below() -> None:
    @saga(source="shop")
    @trigger(source="bank", event="paid")
    async def order(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    assert {each.source for each in order.definition.triggers} == {"shop", "bank"}


def test_what_cannot_work_is_said_when_the_function_is_made() -> None:
    def function(ctx: CodeContext, event: dict[str, Any]) -> None: ...

    with pytest.raises(DefinitionError, match="a trigger needs a source"):
        saga(event="order.created")(function)
    with pytest.raises(DefinitionError, match="name"):
        saga(name="Not A Name")(function)
    with pytest.raises(DefinitionError, match="version"):
        saga(version=0)(function)
    with pytest.raises(DefinitionError, match="deadline"):
        saga(deadline=-1)(function)


def test_an_app_is_loaded_with_the_functions_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "code_first_orders.py").write_text(
        "from sagahook.saga.code import saga\n"
        "from sagahook.saga.code_context import CodeContext\n"
        "@saga(source='shop')\n"
        "async def order(ctx: CodeContext, event: dict) -> None: ...\n"
        "@saga()\n"
        "def refund(ctx: CodeContext, event: dict) -> None: ...\n"
    )
    app = load_app(str(tmp_path / "code_first_orders.py"))
    assert [(each.name, each.code) for each in app.definitions()] == [("order", True), ("refund", True)]


# What its callables are given


async def test_an_action_is_given_the_context_only_where_it_has_a_place_for_it() -> None:
    def annotated(order: int, where: StepContext) -> Any:
        return order, where.step

    def named(ctx, order):  # type: ignore[no-untyped-def]
        return order, ctx.step

    def keyword(order: int, *, ctx: StepContext) -> Any:
        return order, ctx.step

    def none(order: int) -> Any:
        return order

    for action in (annotated, named, keyword):
        assert await settled(as_action("charge", action, (7,)), CTX) == (7, "charge")
    assert await settled(as_action("charge", none, (7,)), CTX) == 7
    assert await settled(as_action("charge", partial(none, 7)), CTX) == 7


async def test_a_compensation_is_given_the_result_where_it_has_a_place_for_it() -> None:
    def both(ctx, receipt):  # type: ignore[no-untyped-def]
        return ctx.step, receipt

    def only_context(ctx: StepContext) -> Any:
        return ctx.step

    for undo, comes_to in (
        (both, ("charge", "r")),
        (only_context, "charge"),
        (lambda receipt: receipt, "r"),
        (lambda result=None: result, "r"),
        (lambda: "nothing", "nothing"),
        (lambda order=7: order, 7),
    ):
        call = as_undo("charge", undo)
        assert call is not None
        assert await settled(call, CTX, "r") == comes_to
    assert as_undo("charge", None) is None


def test_what_cannot_be_called_is_refused_before_anything_is_done() -> None:
    with pytest.raises(DefinitionError, match=r"'charge'.*missing a required argument: 'order'"):
        as_action("charge", lambda order: order)
    with pytest.raises(DefinitionError, match="too many positional arguments"):
        as_action("charge", lambda: None, (7,))
    with pytest.raises(DefinitionError, match="wants a, b"):
        as_undo("charge", lambda a, b: None)
    with pytest.raises(DefinitionError, match="must be something to call"):
        as_action("charge", 7)  # type: ignore[arg-type]


async def test_every_kind_of_callable_keeps_being_async_or_plain() -> None:
    class Charging:
        async def __call__(self) -> str:
            return "charged"

    assert is_async(as_action("charge", Charging()))
    assert is_async(as_action("charge", partial(asyncio.sleep, 0)))
    assert not is_async(as_action("charge", lambda: None))
    assert await settled(as_action("charge", AsyncMock(return_value=5)), CTX) == 5
    assert await settled(as_action("charge", min, (3, 2)), CTX) == 2


@pytest.mark.parametrize("name", ["charge", "Charge the card", "order:charge", "2.charge-card"])
def test_steps_are_called_what_existing_code_calls_them(name: str) -> None:
    assert step_definition(name).name == name


@given(st.text(max_size=70))
def test_no_step_has_a_name_that_its_idempotency_key_could_not_hold(name: str) -> None:
    fits = 1 <= len(name) <= 64 and name.isascii() and name.isprintable() and not set(name) & set("/[]")
    try:
        assert step_definition(name).name == name
    except DefinitionError:
        return
    assert fits


def test_a_wrong_option_is_named_with_its_step() -> None:
    with pytest.raises(DefinitionError, match=r"the step 'charge': timeout: .* not -1"):
        step_definition("charge", timeout=-1)
    with pytest.raises(DefinitionError, match=r"kind must be one of quick, file, network"):
        step_definition("charge", kind="slow")  # type: ignore[arg-type]


def test_time_outs_are_by_kind_where_none_is_given() -> None:
    assert [step_definition("a", kind=kind).timeout for kind in ("quick", "file", "network")] == [10, 15, 30]
    assert step_definition("a", timeout=timedelta(minutes=2)).timeout == 120


# How it runs in one process


@saga()
async def order(ctx: CodeContext, event: dict[str, Any]) -> Any:
    reserved = await ctx.step("reserve", lambda item: f"{item} reserved", event["item"])
    charged, told = await asyncio.gather(
        ctx.step("charge", lambda: "charged"), ctx.step("tell", lambda: "told")
    )
    return [reserved, charged, told]


async def test_it_is_called_like_the_function_that_it_is() -> None:
    assert await order({"item": "book"}) == ["book reserved", "charged", "told"]
    assert await order.run({"item": "book"}) == ["book reserved", "charged", "told"]
    assert isinstance(order(), CodeSaga)


def test_plain_code_gets_the_result_itself() -> None:
    @saga()
    def plain(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return ctx.step("one", lambda: 1) + ctx.step("two", lambda ctx: len(ctx.results))

    assert plain({}) == 2
    assert order({"item": "book"}) == ["book reserved", "charged", "told"]


async def test_a_failure_undoes_what_was_done_the_last_first(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def declined(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.step("note", lambda: "n")
        await ctx.step("pack", lambda: "p", compensate=undone.append)
        await ctx.step("charge", fail(ValueError("no money")), compensate=undone.append, retry=ONCE)

    journal = clock.journal()
    with pytest.raises(SagaAborted, match="aborted at the step 'charge': ValueError: no money") as aborted:
        await declined.run({}, journal=journal)
    assert undone == ["p", "r"]
    assert isinstance(aborted.value.__cause__, ValueError)
    assert aborted.value.unresolved == {}
    assert (journal.completed, journal.undone) == (("note",), ("reserve", "pack"))


async def test_an_error_of_the_function_itself_undoes_too(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def buggy(ctx: CodeContext, event: dict[str, Any]) -> Any:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        return event["missing"]

    with pytest.raises(SagaAborted, match="KeyError") as aborted:
        await buggy.run({}, journal=clock.journal())
    assert isinstance(aborted.value.__cause__, KeyError)
    assert undone == ["r"]


async def test_a_caught_failure_is_one_all_the_same(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def stubborn(ctx: CodeContext, event: dict[str, Any]) -> str:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        try:
            await ctx.step("charge", fail(ValueError("no money")), retry=ONCE)
        except Exception:
            return "never mind"
        return "charged"

    with pytest.raises(SagaAborted):
        await stubborn.run({}, journal=clock.journal())
    assert undone == ["r"]


async def test_retries_wait_as_the_policy_says(clock: Clock) -> None:
    @saga()
    async def hopeless(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", fail(ValueError("no")), retry=Retry(max=3, initial=1, factor=2, jitter=0))

    with pytest.raises(SagaAborted):
        await hopeless.run({}, journal=clock.journal())
    assert clock.waited == [1, 2, 4]


async def test_an_error_may_ask_for_a_longer_wait_and_a_named_one_for_none(clock: Clock) -> None:
    errors: list[Exception] = [RetryLater("busy", 30), LookupError("gone")]

    def charge() -> None:
        raise errors.pop(0)

    @saga()
    async def asked(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", charge, retry=Retry(non_retryable=("LookupError",)))

    with pytest.raises(SagaAborted, match="LookupError: gone"):
        await asked.run({}, journal=clock.journal())
    assert clock.waited == [30]


@pytest.mark.parametrize("error", [UnknownOutcomeError("?"), ConnectionResetError("?"), TimeoutError("?")])
async def test_what_may_have_been_done_is_undone_without_a_result(
    clock: Clock, undone: list[Any], error: Exception
) -> None:
    @saga()
    async def unknown(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", fail(error), compensate=undone.append, retry=ONCE)

    with pytest.raises(SagaAborted):
        await unknown.run({}, journal=clock.journal())
    assert undone == [None]


async def test_a_result_that_cannot_be_kept_was_an_effect_all_the_same(
    clock: Clock, undone: list[Any]
) -> None:
    @saga()
    async def odd(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", object, compensate=undone.append)

    with pytest.raises(SagaAborted, match="not_json"):
        await odd.run({}, journal=clock.journal())
    assert (undone, clock.waited) == ([None], [])


async def test_a_failed_branch_lets_the_others_end_and_undoes_them(clock: Clock, undone: list[Any]) -> None:
    charged = asyncio.Event()

    async def reserve() -> str:
        await charged.wait()
        return "r"

    async def charge() -> None:
        charged.set()
        raise ValueError("no money")

    @saga()
    async def parallel(ctx: CodeContext, event: dict[str, Any]) -> None:
        await asyncio.gather(
            ctx.step("reserve", reserve, compensate=undone.append),
            ctx.step("charge", charge, retry=ONCE),
            ctx.signal("approved"),
        )

    with pytest.raises(SagaAborted, match="'charge'"):
        await parallel.run({}, journal=clock.journal())
    assert undone == ["r"]


async def test_what_cannot_be_undone_is_told_and_the_rest_is_undone(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def stuck(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.step("mail", lambda: "m", compensate=fail(ValueError("sent is sent")))
        await ctx.step("charge", fail(ValueError("no money")), retry=ONCE)

    with pytest.raises(SagaAborted, match="could not be undone: mail") as aborted:
        await stuck.run({}, journal=clock.journal())
    assert aborted.value.unresolved == {"mail": "ValueError: sent is sent"}
    assert undone == ["r"]
    assert len(clock.waited) == 3


async def test_all_is_undone_at_once_where_that_is_asked_for(undone: list[Any]) -> None:
    met = asyncio.Barrier(2)

    @saga(compensation="parallel")
    async def both(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: None, compensate=met.wait)
        await ctx.step("pack", lambda: None, compensate=met.wait)
        await ctx.step("charge", fail(ValueError("no money")), retry=ONCE)

    with pytest.raises(SagaAborted) as aborted:
        await both({})
    assert aborted.value.unresolved == {}


async def test_past_its_pivot_nothing_is_undone(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def sent(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.step("send", lambda: "s", pivot=True)
        await ctx.step("thank", fail(ValueError("no answer")), retry=ONCE)

    with pytest.raises(SagaAborted, match="past the pivot: nothing was undone"):
        await sent.run({}, journal=clock.journal())
    assert undone == []


async def test_it_sleeps_so_long_or_until(clock: Clock) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)

    @saga()
    async def patient(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.sleep("a_while", 90)
        await ctx.sleep("a_day", timedelta(days=1))
        await ctx.sleep("till_one", noon + timedelta(hours=1))
        await ctx.sleep("long_gone", noon - timedelta(hours=1))

    await patient.run({}, journal=clock.journal(now=lambda: noon))
    assert clock.waited == [90, 86_400, 3_600, 0]
    with pytest.raises(SagaAborted, match="which time zone"):
        await saga(name="naive")(lambda ctx, event: ctx.sleep("x", datetime(2030, 1, 1)))({})


async def test_a_signal_is_taken_once_whether_it_came_before_or_comes_later(clock: Clock) -> None:
    journal = clock.journal()
    journal.signal("approved", {"by": "anna"})

    @saga()
    async def asks(ctx: CodeContext, event: dict[str, Any]) -> Any:
        first = await ctx.signal("approved")
        asyncio.get_running_loop().call_soon(lambda: journal.signal("approved", {"by": "bert"}))
        return [first, await ctx.signal("approved", step="approved_again")]

    assert await asks.run({}, journal=journal) == [{"by": "anna"}, {"by": "bert"}]


async def test_a_signal_that_does_not_come_fails_its_step_or_is_done_without(clock: Clock) -> None:
    @saga()
    async def goes_on(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return await ctx.signal("approved", timeout=0.01, on_timeout="continue")

    @saga()
    async def gives_up(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return await ctx.signal("approved", timeout=0.01)

    assert await goes_on.run({}, journal=clock.journal()) is None
    with pytest.raises(SagaAborted, match=r"no signal 'approved' within 0.01 s"):
        await gives_up.run({}, journal=clock.journal())


async def test_an_action_may_ask_to_be_called_again(clock: Clock) -> None:
    def poll(ctx: StepContext) -> Any:
        polls = ctx.carry or 0
        assert isinstance(polls, int)
        return continue_after(60, polls + 1) if polls < 2 else f"ready after {polls} polls"

    @saga()
    async def polls(ctx: CodeContext, event: dict[str, Any]) -> Any:
        return await ctx.step("poll", poll)

    assert await polls.run({}, journal=clock.journal()) == "ready after 2 polls"
    assert clock.waited == [60, 60]


async def test_a_child_has_a_context_and_a_result_of_its_own_and_is_undone_with_its_parent(
    clock: Clock, undone: list[Any]
) -> None:
    @saga()
    async def payment(ctx: CodeContext, event: dict[str, Any]) -> Any:
        await ctx.step("charge", lambda: event["amount"], compensate=undone.append)
        return {"paid": event["amount"], "id": ctx.saga_id}

    @saga()
    async def parent(ctx: CodeContext, event: dict[str, Any]) -> Any:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        paid = await ctx.child("pay", payment, {"amount": 5})
        if event["fails"]:
            await ctx.step("ship", fail(ValueError("lost")), retry=ONCE)
        return paid

    paid = await parent.run({"fails": False}, journal=clock.journal(sagas=[payment]))
    assert paid["paid"] == 5
    assert paid["id"] != "order-1"
    with pytest.raises(SagaAborted):
        await parent.run({"fails": True}, journal=clock.journal(sagas=[payment]))
    assert undone == [5, "r"]
    with pytest.raises(SagaAborted, match=r"sagas=\["):
        await parent.run({"fails": False}, journal=clock.journal())


async def test_a_child_that_fails_undoes_itself_and_fails_its_step(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def payment(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", lambda: "c", compensate=undone.append)
        await ctx.step("book", fail(ValueError("closed")), retry=ONCE)

    @saga()
    async def parent(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.child("pay", "payment", {})

    with pytest.raises(SagaAborted, match="ValueError: closed") as aborted:
        await parent.run({}, journal=clock.journal(sagas=[payment]))
    assert (aborted.value.step, undone) == ("pay", ["c", "r"])


async def test_two_steps_of_one_name_are_a_mistake_that_undoes(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def doubled(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("charge", lambda: 1, compensate=undone.append)
        await ctx.step("charge", lambda: 2)

    with pytest.raises(SagaAborted, match="two steps are named 'charge'"):
        await doubled.run({}, journal=clock.journal())
    assert undone == [1]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_deadline_ends_the_whole_run_and_undoes(undone: list[Any], plain: bool) -> None:
    def plainly(ctx: CodeContext, event: dict[str, Any]) -> None:
        ctx.step("reserve", lambda: "r", compensate=undone.append)
        ctx.signal("never")

    async def awaiting(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.signal("never")

    with pytest.raises(SagaAborted, match=r"took longer than 0.2 s"):
        await saga(deadline=0.2)(plainly if plain else awaiting)({})
    assert undone == ["r"]


async def test_a_step_has_a_deadline_over_all_its_attempts(undone: list[Any]) -> None:
    @saga()
    async def slow(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("hang", asyncio.Event().wait, deadline=0.01, compensate=undone.append)

    with pytest.raises(SagaAborted, match=r"not done within 0.01 s"):
        await slow({})
    assert undone == [None]


async def test_a_run_that_is_cancelled_is_undone(undone: list[Any]) -> None:
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    @saga()
    async def called_off(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)
        await ctx.step("charge", hang, compensate=undone.append)

    task = asyncio.create_task(called_off({}))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [None, "r"]


async def test_a_journal_of_another_function_is_not_guessed_at(clock: Clock, undone: list[Any]) -> None:
    @saga()
    async def before(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("reserve", lambda: "r", compensate=undone.append)

    @saga()
    async def after(ctx: CodeContext, event: dict[str, Any]) -> None:
        await ctx.step("pack", lambda: "p")

    journal = clock.journal()
    await before.run({}, journal=journal)
    with pytest.raises(OrderChanged):
        await after.run({}, journal=journal)
    assert undone == []


async def test_plain_functions_wait_in_threads_of_their_own(clock: Clock) -> None:
    """However many wait, the actions that they wait for find a thread."""
    together = threading.Barrier(40)

    @saga()
    def waits(ctx: CodeContext, event: dict[str, Any]) -> Any:
        together.wait(30)
        return ctx.step("work", lambda: 1)

    assert sum(await asyncio.gather(*(waits({}) for _ in range(40)))) == 40


@given(
    outcomes=st.lists(
        st.sampled_from(["done", "failed", "unknown", "unknown but done"]), min_size=1, max_size=5
    ),
    undoing=st.lists(st.booleans(), min_size=5, max_size=5),
    parallel=st.booleans(),
)
def test_whatever_fails_what_is_left_behind_is_what_is_told(
    outcomes: list[str], undoing: list[bool], parallel: bool
) -> None:
    effects: list[int] = []

    def do(number: int, outcome: str) -> None:
        if outcome in ("done", "unknown but done"):
            effects.append(number)
        if outcome == "failed":
            raise ValueError(outcome)
        if outcome != "done":
            raise UnknownOutcomeError(outcome)

    def undo(number: int) -> None:
        if not undoing[number]:
            raise ValueError("it stays")
        if number in effects:
            effects.remove(number)

    @saga()
    async def steps(ctx: CodeContext, event: dict[str, Any]) -> None:
        for number, outcome in enumerate(outcomes):
            await ctx.step(f"s{number}", do, number, outcome, compensate=partial(undo, number), retry=ONCE)

    journal = LocalJournal(sleep=lambda seconds: asyncio.sleep(0), parallel=parallel, inline=True)
    failing = next((number for number, outcome in enumerate(outcomes) if outcome != "done"), None)
    if failing is None:
        asyncio.run(journal.run(steps))
        assert effects == list(range(len(outcomes)))
        return
    with pytest.raises(SagaAborted) as aborted:
        asyncio.run(journal.run(steps))
    assert aborted.value.step == f"s{failing}"
    tried = range(failing + (outcomes[failing] != "failed"))
    assert list(aborted.value.unresolved) == [
        f"s{number}" for number in reversed(tried) if not undoing[number]
    ]
    assert {f"s{number}" for number in effects} <= aborted.value.unresolved.keys()
