"""Which saga an event is for, what it waits for and what it is found by: what a trigger's options do in the router."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from orjson import dumps

from sagahook.saga import Saga, SagaApp, StepContext, child, step, trigger
from sagahook.testing import SagaTest
from sagahook_runner.adapters.triggers import Route, Triggers, Webhook
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.identity import limit_key, saga_id
from sagahook_schemas.webhooks import received_envelope

ORDER = {"shop": "north", "order": {"id": 7}, "total": 12}


def saga(
    name: str = "Order", *, handler: Callable[..., Any] | None = None, attributes: Any = None, **wanted: Any
) -> Saga:
    """A saga that the source `shop` triggers; its context is the event unless a handler is given."""

    def accept(self: object, event: Any) -> Any:
        return handler(event) if handler else event

    members = {"accept": trigger(source="shop", **wanted)(accept), "attributes": attributes or {}}
    made: Saga = type(name, (Saga,), members)()
    return made


def async_saga(**wanted: Any) -> Saga:
    async def accept(self: object, event: Any) -> Any:
        await asyncio.sleep(0)
        return event

    made: Saga = type("Order", (Saga,), {"accept": trigger(source="shop", **wanted)(accept)})()
    return made


async def route(*sagas: Saga, body: object = ORDER, timeout: float = 20) -> Route:
    envelope = received_envelope(
        event_id="evt-1",
        source="shop",
        event_type="",
        time=datetime(2030, 1, 1, tzinfo=UTC),
        correlation_id="cor-1",
        content_type="application/json",
    )
    (found,) = await Triggers(SagaApp(sagas), timeout=timeout).evaluate([Webhook(envelope, dumps(body))])
    return found


async def started(*sagas: Saga, body: object = ORDER) -> StartSaga:
    ((_, request),) = (await route(*sagas, body=body)).starts
    return request


async def identity(made: Saga, body: object = ORDER) -> str:
    ((found, _),) = (await route(made, body=body)).starts
    return found


def refuse(event: Any) -> bool:
    raise ValueError("no such shop")


both = pytest.mark.parametrize("make", [saga, async_saga])
"""A handler that is async, and one that is not."""


# -- when -------------------------------------------------------------------------------------------------------


@both
async def test_an_event_that_the_condition_says_yes_to_is_taken(make: Callable[..., Saga]) -> None:
    assert (await route(make(when=lambda event: event["total"] > 10))).routed.outcome == "triggered"


@both
@pytest.mark.parametrize("answer", [False, None, 0, ""])
async def test_an_event_that_it_says_no_to_is_not_for_the_trigger(
    make: Callable[..., Saga], answer: object
) -> None:
    found = await route(make(when=lambda event: answer, idempotency_key="nothing.there"))
    assert (found.routed.outcome, found.routed.reason) == ("ignored", "every trigger declined it")


@both
async def test_a_condition_that_fails_costs_its_own_route_only(make: Callable[..., Saga]) -> None:
    found = await route(make(when=refuse), saga("Mail"))
    assert [error.error for error in found.routed.errors] == ["ValueError: no such shop"]
    assert [each.name for each in found.routed.sagas] == ["mail"]


@both
async def test_a_condition_that_never_ends_is_cut_off(make: Callable[..., Saga]) -> None:
    release = threading.Event()
    found = await route(make(when=lambda event: release.wait()), saga("Mail"), timeout=0.05)
    release.set()
    assert found.routed.errors[0].error == "TimeoutError: the trigger took more than 0.05 s"
    assert [each.name for each in found.routed.sagas] == ["mail"]


@both
async def test_a_condition_that_would_have_to_be_awaited_is_an_error_and_not_a_yes(
    make: Callable[..., Saga],
) -> None:
    async def later(event: Any) -> bool:
        return False

    found = await route(make(when=lambda event: later(event)))  # noqa: PLW0108  # it hides that it is async
    assert "define it with async def" in found.routed.errors[0].error


# -- which saga it is -------------------------------------------------------------------------------------------


async def test_several_fields_identify_together() -> None:
    order = saga(idempotency_key=("shop", "order.id"))
    assert await identity(order) == saga_id("shop", "order", '["north","7"]')
    assert await identity(order, {**ORDER, "order": {"id": "7"}}) == await identity(order)
    split, joined = {"shop": "a", "order": {"id": 'b","c'}}, {"shop": 'a","b', "order": {"id": "c"}}
    assert await identity(order, split) != await identity(order, joined)


async def test_one_field_in_a_list_identifies_as_it_does_alone() -> None:
    assert await identity(saga(idempotency_key=["order.id"])) == await identity(
        saga(idempotency_key="order.id")
    )


async def test_where_one_of_several_fields_is_missing_there_is_no_saga() -> None:
    found = await route(saga(idempotency_key=("shop", "order.id")), body={"shop": "north"})
    assert found.routed.errors[0].error == (
        "the body has no usable field 'shop' or 'order.id', which is the saga's idempotency key"
    )


@both
@pytest.mark.parametrize(("made", "value"), [("x", "x"), (7, "7"), (True, "true"), (1.5, "1.5"), ("", "")])
async def test_a_function_makes_the_identity(make: Callable[..., Saga], made: Any, value: str) -> None:
    assert await identity(make(idempotency_key=lambda event: made)) == saga_id("shop", "order", value)


@both
@pytest.mark.parametrize("made", [None, [], {}, object(), 2.0**60])
async def test_a_function_that_makes_none_fails_the_route(make: Callable[..., Saga], made: Any) -> None:
    found = await route(make(idempotency_key=lambda event: made), saga("Mail"))
    assert [each.name for each in found.routed.sagas] == ["mail"]
    assert found.routed.errors[0].error == (
        "the function that makes the idempotency key must return a string, a boolean or a number that needs no "
        f"rounding, not {type(made).__name__}"
    )


@both
@pytest.mark.parametrize("key", [refuse, lambda event: "\ud800", lambda event: 10**5000])
async def test_a_function_that_fails_costs_its_own_route_only(make: Callable[..., Saga], key: Any) -> None:
    found = await route(make(idempotency_key=key), saga("Mail"))
    assert [each.name for each in found.routed.sagas] == ["mail"]
    assert found.routed.errors[0].error.startswith("the function that makes the idempotency key: ")


async def test_who_declines_needs_no_identity_from_a_function_either() -> None:
    found = await route(saga(handler=lambda event: None, idempotency_key=refuse))
    assert found.routed.outcome == "ignored"


async def test_a_function_sees_the_event_before_the_handler_does_anything_to_it() -> None:
    order = saga(handler=lambda event: event.clear() or {}, idempotency_key=lambda event: event["total"])
    assert await identity(order) == saga_id("shop", "order", "12")


# -- what it waits for ------------------------------------------------------------------------------------------


async def test_a_saga_without_limits_waits_for_nothing() -> None:
    assert (await started(saga())).limit_key is None


@both
@pytest.mark.parametrize("limit", [{"max_concurrent": 2}, {"rate_limit": "10/s"}])
async def test_a_limited_saga_waits_for_a_slot_of_its_limit(make: Callable[..., Saga], limit: Any) -> None:
    assert (await started(make(**limit))).limit_key == limit_key("order", None)


async def test_each_value_at_the_concurrency_key_has_a_limit_of_its_own_and_those_without_share_one() -> None:
    order = saga(max_concurrent=2, concurrency_key="order.id")
    assert (await started(order)).limit_key == limit_key("order", "7")
    for body in ({}, {"order": {"id": None}}, {"order": {"id": [1]}}):
        assert (await started(order, body=body)).limit_key == limit_key("order", None)


async def test_a_value_that_is_too_long_for_a_key_fails_its_route() -> None:
    order = saga(max_concurrent=2, concurrency_key="shop")
    found = await route(order, body={"shop": "x" * 2_000})
    assert found.routed.errors[0].error == "the value at 'shop', which limits are counted by, is too long"


async def test_an_author_who_changes_the_event_changes_no_limit() -> None:
    order = saga(handler=lambda event: event.clear() or {}, max_concurrent=2, concurrency_key="shop")
    assert (await started(order)).limit_key == limit_key("order", "north")


# -- what it is found by ----------------------------------------------------------------------------------------


async def test_attributes_are_taken_from_the_context_and_what_is_absent_is_left_out() -> None:
    order = saga(
        handler=lambda event: {"repo": {"name": "r"}, "n": 3, "urgent": False, "none": None, "tags": ["a"]},
        attributes={
            "repository": "repo.name",
            "number": "n",
            "urgent": "urgent",
            "absent": "x.y",
            "none": "none",
            "tags": "tags",
            "whole": "repo",
        },
    )
    assert (await started(order)).attributes == {"repository": "r", "number": 3, "urgent": False}


async def test_a_long_text_is_searched_by_its_beginning() -> None:
    order = saga(attributes={"shop": "shop"})
    assert (await started(order, body={"shop": "x" * 5_000})).attributes == {"shop": "x" * 1_000}


async def test_a_child_is_found_by_what_its_own_definition_takes_from_its_context() -> None:
    class Parcel(Saga):
        attributes: ClassVar = {"order": "order.id"}

        @step
        async def send(self, ctx: StepContext) -> None: ...

    class Order(Saga):
        parcel = child(Parcel, context=lambda ctx: {"order": {"id": ctx.context["id"]}})

    run = await SagaTest(Order, Parcel).start(Order, {"id": 7})
    assert run.child("parcel").events[0].data["attributes"] == {"order": 7}


async def test_a_saga_that_is_found_by_nothing_says_nothing() -> None:
    assert (await started(saga())).attributes is None
    assert (await started(saga(attributes={"a": "absent"}))).attributes is None
