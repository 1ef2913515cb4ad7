"""What each kind of step tells the engine, and what its code is asked beforehand."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import pytest

from sagahook.saga import (
    Continue,
    DeclaredStep,
    DefinitionError,
    PermanentError,
    RetryLater,
    Saga,
    SagaApp,
    StepContext,
    await_signal,
    child,
    continue_after,
    foreach,
    sleep,
    step,
)
from sagahook_schemas.definitions import StepDefinition


def context(**more: Any) -> StepContext:
    given: dict[str, Any] = {
        "saga": "order",
        "saga_id": "s",
        "run": 1,
        "step": "charge",
        "phase": "prepare",
        "attempt": 1,
        "correlation_id": "cor",
        "idempotency_key": "s/1/charge/prepare",
        "action_key": "s/1/charge/action",
        "context": {"items": ["pen", "ink"], "total": 7},
        "results": {},
    }
    return StepContext(**given | more)


def saga(class_name: str = "Order", **members: Any) -> Any:
    return type(class_name, (Saga,), members)()


def only_step(declared: object) -> StepDefinition:
    (found,) = saga(wait=declared).definition.steps
    return found  # type: ignore[no-any-return]  # classes made now are Any


def asked(declared: object, *others: Saga, name: str = "wait") -> Any:
    """What the step of a saga that is deployed with the others says before it is done."""
    members: dict[str, Any] = {name: declared}
    order = saga(**members)
    SagaApp([order, *others])
    prepare = order.preparation(name)
    return asyncio.run(prepare(context())) if iscoroutinefunction(prepare) else prepare(context())


def acting(*args: Any, **options: Any) -> Any:
    async def action(self: object, ctx: StepContext) -> str:
        return ctx.step

    return step(*args, **options)(action)


def problem(declared: object) -> str:
    with pytest.raises(DefinitionError) as refused:
        saga(wait=declared)
    (found,) = refused.value.problems
    return found


def slowly(answer: object) -> Callable[[StepContext], Any]:
    """An async function of the context."""

    async def ask(ctx: StepContext) -> object:
        await asyncio.sleep(0)
        return answer

    return ask


# -- when -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [lambda ctx: ctx.context["total"] > 5, slowly(True), partial(slowly(True))])
def test_a_step_whose_condition_says_yes_is_wanted(when: Any) -> None:
    assert only_step(acting(when=when)).prepares
    assert asked(acting(when=when)) == {"value": None}


@pytest.mark.parametrize("when", [lambda ctx: False, lambda ctx: None, slowly(0)])
def test_a_step_whose_condition_says_no_is_skipped(when: Any) -> None:
    assert asked(acting(when=when)) == {"skip": "its condition said that it is not wanted"}
    assert asked(sleep(until=lambda ctx: 1 / 0, when=when)) == {
        "skip": "its condition said that it is not wanted"
    }


def test_a_step_without_a_condition_is_asked_nothing() -> None:
    assert not only_step(acting()).prepares
    assert "wait" not in saga(wait=acting()).preparations


def test_a_condition_that_forgot_its_async_is_an_error_and_not_a_yes() -> None:
    with pytest.raises(TypeError, match="define it with async def"):
        asked(acting(when=lambda ctx: slowly(False)(ctx)))  # noqa: PLW0108  # that is the mistake


def test_a_condition_that_is_not_async_runs_in_a_thread_even_beside_an_async_question() -> None:
    threads: list[bool] = []

    def when(ctx: StepContext) -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            threads.append(True)
        return True

    assert asked(sleep(until=slowly(3), when=when)) == {"value": 3.0}
    assert threads == [True]


# -- sleep ------------------------------------------------------------------------------------------------------


def test_a_sleep_of_a_fixed_length_is_asked_nothing() -> None:
    found = only_step(sleep(seconds=timedelta(minutes=1)))
    assert (found.does, found.seconds, found.prepares) == ("sleep", 60, False)


@pytest.mark.parametrize(
    ("until", "value"),
    [
        (datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2030-01-01T10:00:00+00:00"),
        (timedelta(minutes=2), 120.0),
        (1.5, 1.5),
        (0, 0.0),
        (-3, 0.0),
        (timedelta(seconds=-1), 0.0),
    ],
)
def test_a_sleep_may_ask_until_when(until: Any, value: Any) -> None:
    assert only_step(sleep(until=lambda ctx: until)).prepares
    assert asked(sleep(until=lambda ctx: until)) == {"value": value}
    assert asked(sleep(until=slowly(until))) == {"value": value}


@pytest.mark.parametrize(
    "until", [datetime(2030, 1, 1), float("nan"), float("inf"), timedelta(days=36_500), "soon", None, True]
)
def test_an_answer_that_is_no_time_fails_the_step_for_good(until: Any) -> None:
    with pytest.raises(PermanentError, match=r"until must give|a sleep takes at most ten years"):
        asked(sleep(until=lambda ctx: until))


def test_a_sleep_says_how_long_in_one_way() -> None:
    either = "Order: the step 'wait': say how long to sleep: either seconds=, or until="
    assert problem(sleep()).startswith(either)
    assert problem(sleep(seconds=1, until=lambda ctx: 1)).startswith(either)
    assert problem(sleep(60)).endswith("say how long with seconds=: sleep(seconds=60)")  # type: ignore[arg-type]
    assert "until must be a function" in problem(sleep(until=datetime.now(UTC)))  # type: ignore[arg-type]
    assert "the step 'wait': seconds:" in problem(sleep(seconds=-1))


# -- signals ----------------------------------------------------------------------------------------------------


def test_a_step_may_wait_for_a_signal_for_a_while_or_for_ever() -> None:
    found = only_step(await_signal("approved", timeout=timedelta(hours=1), on_timeout="continue"))
    assert (found.does, found.signal, found.patience, found.on_timeout) == (
        "signal",
        "approved",
        3600,
        "continue",
    )
    assert only_step(await_signal("approved")).patience is None


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".", "é", 7])
def test_a_signal_s_name_can_stand_in_a_path(name: Any) -> None:
    assert "must be letters, digits, _, . and -" in problem(await_signal(name))


def test_what_happens_when_no_signal_came_is_fail_or_continue() -> None:
    assert "the step 'wait': on_timeout:" in problem(await_signal("go", on_timeout="give up"))  # type: ignore[arg-type]


# -- children ---------------------------------------------------------------------------------------------------


class Shipment(Saga):
    version = 2


def test_a_child_is_the_newest_version_of_a_class_or_a_name() -> None:
    first = saga("Shipment", version=1)
    for named in (Shipment, "shipment"):
        assert asked(child(named, context=lambda ctx: {"n": 1}), first, Shipment()) == {
            "value": {"name": "shipment", "version": 2, "context": {"n": 1}}
        }
    assert only_step(child(Shipment)).child == "shipment"


def test_a_child_gets_its_parent_s_context_unless_it_is_given_its_own() -> None:
    assert asked(child(Shipment), Shipment())["value"]["context"] == context().context
    assert asked(child(Shipment, context=slowly({"n": 2})), Shipment())["value"]["context"] == {"n": 2}


def test_a_class_runs_as_a_child_without_an_app_too_but_a_name_does_not() -> None:
    assert saga(wait=child(Shipment)).preparation("wait")(context())["value"]["version"] == 2
    with pytest.raises(PermanentError, match="no saga 'shipment' is deployed beside 'order'"):
        saga(wait=child("shipment")).preparation("wait")(context())


def test_a_context_that_is_no_dict_fails_the_step_for_good() -> None:
    with pytest.raises(PermanentError, match="the context of a child must be a dict, not list"):
        asked(child(Shipment, context=lambda ctx: []), Shipment())  # type: ignore[arg-type,return-value]


def test_a_child_names_a_saga() -> None:
    assert "child needs a saga class, or the name of a saga" in problem(child(7))  # type: ignore[arg-type]
    assert "context must be a function" in problem(child(Shipment, context={}))  # type: ignore[arg-type]


# -- items ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [acting("charge", timeout=5), None])
def test_a_step_is_done_for_each_item_with_or_without_options_of_its_own(mark: Any) -> None:
    async def charge(self: object, ctx: StepContext) -> str:
        return ctx.step

    order = saga(charge=foreach(items=lambda ctx: ctx.context["items"], concurrency=4)(mark or charge))
    (found,) = order.definition.steps
    assert (found.name, found.does, found.concurrency, found.prepares) == ("charge", "each", 4, True)
    assert found.timeout == (5 if mark else 30)
    assert order.preparation("charge")(context()) == {"value": ["pen", "ink"]}
    one = context(step="charge[0]", phase="action", item="pen", index=0)
    assert asyncio.run(order.action("charge")(one)) == "charge[0]"


def test_items_may_be_asked_async_and_be_any_sequence() -> None:
    assert asked(foreach(items=slowly((1, 2)))(acting())) == {"value": [1, 2]}
    assert asked(foreach(items=lambda ctx: (n for n in range(3)))(acting())) == {"value": [0, 1, 2]}


@pytest.mark.parametrize("items", ["pens", {"a": 1}, 7, None, b"x"])
def test_what_is_no_list_of_items_fails_the_step_for_good(items: Any) -> None:
    with pytest.raises(PermanentError, match="items must give a list, not"):
        asked(foreach(items=lambda ctx: items)(acting()))


def test_there_are_at_most_a_thousand_items() -> None:
    assert len(asked(foreach(items=lambda ctx: range(1000))(acting()))["value"]) == 1000
    with pytest.raises(PermanentError, match="1001 items, the limit is 1000"):
        asked(foreach(items=lambda ctx: range(1001))(acting()))


def test_only_an_action_is_repeated() -> None:
    assert "it cannot repeat a wait" in problem(foreach(items=lambda ctx: [])(sleep(seconds=1)))
    assert "items must be a function" in problem(foreach(items=[1, 2])(acting()))  # type: ignore[arg-type]
    assert "concurrency" in problem(foreach(items=lambda ctx: [], concurrency=0)(acting()))


# -- kinds of one's own -----------------------------------------------------------------------------------------


class Call(DeclaredStep):
    """A kind of step that another module may add."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self._url = url

    def action(self) -> Any:
        return self._call

    async def _call(self, saga: Saga, ctx: StepContext) -> str:
        return f"{saga.name} {self._url} {ctx.item}"


def test_a_kind_of_step_brings_its_own_code_which_is_bound_to_the_saga() -> None:
    order = saga(call=Call("/pay", timeout=3, when=lambda ctx: True))
    assert order.definition.by_name["call"].timeout == 3
    action = order.action("call")
    assert iscoroutinefunction(action)
    assert action == order.action("call")
    assert asyncio.run(action(context())) == "order /pay None"


def test_a_kind_of_step_can_be_repeated_for_items_too() -> None:
    order = saga(calls=foreach(items=lambda ctx: [1])(Call("/pay")))
    assert order.definition.by_name["calls"].does == "each"
    assert asyncio.run(order.action("calls")(context(item=1))) == "order /pay 1"


def test_a_step_that_the_engine_does_has_no_action() -> None:
    assert saga(wait=sleep(seconds=1)).actions == {}


# -- what an action says ----------------------------------------------------------------------------------------


def test_an_action_tells_of_life_and_progress_and_outside_the_engine_nobody_hears() -> None:
    told: list[object] = []
    ctx = context(
        on_heartbeat=lambda: told.append("alive"),
        on_progress=lambda part, message: told.append((part, message)),
    )
    ctx.heartbeat()
    ctx.progress(0.5, "half")
    ctx.progress(1.0000001)
    ctx.progress(float("nan"))
    assert told == ["alive", "alive", (0.5, "half"), "alive", (1.0, ""), "alive", (0.0, "")]
    context().heartbeat()
    context().progress(1)


def test_an_action_asks_to_be_called_again() -> None:
    assert continue_after(timedelta(minutes=1), {"page": 2}) == Continue(60, {"page": 2})
    assert continue_after(0) == Continue(0.0, None)


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), timedelta(days=400)])
def test_it_is_called_again_within_a_year(wait: Any) -> None:
    with pytest.raises(ValueError, match="between 0 seconds and a year"):
        continue_after(wait)


def test_an_error_may_say_when_trying_again_is_of_use() -> None:
    assert RetryLater("busy", timedelta(minutes=1)).retry_after == 60
    assert str(RetryLater("busy", 2)) == "busy"
