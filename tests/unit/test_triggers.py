"""Triggers are the users' own code: what one of them does costs its own route only."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import FunctionType
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from orjson import dumps

from sagahook.saga import Saga, SagaApp, trigger
from sagahook_runner.adapters.triggers import Route, Triggers, Webhook
from sagahook_schemas.codec import decode_data
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import saga_id
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.webhooks import received_envelope

ORDER = {"order": {"id": 7}, "total": 12}


def saga(name: str, handler: Callable[[Any, Any], Any], *, version: int = 1, **wanted: Any) -> Saga:
    """A saga that the source `shop` triggers."""
    assert isinstance(handler, FunctionType)
    # A copy, because a mark stays on the function that it was put on.
    accept = FunctionType(handler.__code__, handler.__globals__, closure=handler.__closure__)
    marked = trigger(source="shop", **wanted)(accept)
    made: Saga = type(name, (Saga,), {"version": version, "accept": marked})()
    return made


def take(self: object, event: Any) -> dict[str, Any]:
    return {"total": event["total"]}


def envelope(event_id: str = "evt-1", *, source: str = "shop", event_type: str = "", **more: Any) -> Envelope:
    return received_envelope(
        event_id=event_id,
        source=source,
        event_type=event_type,
        time=datetime(2030, 1, 1, tzinfo=UTC),
        correlation_id=f"cor-{event_id}",
        content_type="application/json",
        **more,
    )


def webhook(event_id: str = "evt-1", body: object = None, **more: Any) -> Webhook:
    return Webhook(envelope(event_id, **more), dumps(body or ORDER))


class Router:
    """Evaluates the triggers of the sagas given."""

    def __init__(self) -> None:
        self.release = threading.Event()

    async def routes(self, sagas: list[Saga], *webhooks: Webhook, timeout: float = 20) -> list[Route]:
        triggers = Triggers(SagaApp(sagas), timeout=timeout)
        return await triggers.evaluate(webhooks or (webhook(),))

    async def route(self, *sagas: Saga, given: Webhook | None = None, timeout: float = 20) -> Route:
        (route,) = await self.routes(list(sagas), given or webhook(), timeout=timeout)
        return route


@pytest_asyncio.fixture
async def router() -> AsyncIterator[Router]:
    router = Router()
    yield router
    router.release.set()


def outcomes(route: Route) -> tuple[str, list[str], list[str]]:
    """How it ended, the sagas it starts, and those whose trigger failed."""
    return (
        route.routed.outcome,
        [started.name for started in route.routed.sagas],
        [error.name for error in route.routed.errors],
    )


async def test_a_wanted_webhook_starts_its_saga_with_the_context_that_the_trigger_made(
    router: Router,
) -> None:
    given = webhook(notify_url="https://example.org/told")
    route = await router.route(saga("Order", take, idempotency_key="order.id"), given=given)
    ((identity, request),) = route.starts
    assert identity == saga_id("shop", "order", "7")
    assert (request.name, request.version, request.source) == ("order", 1, "shop")
    assert (request.event_id, request.correlation_id) == ("evt-1", "cor-evt-1")
    assert request.context == {"total": 12}
    assert request.notify_url == "https://example.org/told"
    assert outcomes(route) == ("triggered", ["order"], [])
    assert route.routed.sagas[0].saga_id == identity


async def test_a_trigger_may_be_async(router: Router) -> None:
    async def accept(self: object, event: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"total": event["total"]}

    route = await router.route(saga("Order", accept))
    assert route.starts[0][1].context == {"total": 12}


async def test_two_sagas_on_one_webhook_start_under_ids_of_their_own(router: Router) -> None:
    route = await router.route(saga("Order", take), saga("Mail", take))
    assert outcomes(route) == ("triggered", ["order", "mail"], [])
    assert len({identity for identity, _ in route.starts}) == 2


async def test_two_triggers_of_one_saga_start_it_once(router: Router) -> None:
    class Order(Saga):
        @trigger(source="shop", idempotency_key="order.id")
        @trigger(source="shop", event="order.created", idempotency_key="order.id")
        def accept(self, event: Any) -> dict[str, Any]:
            return {}

    route = await router.route(Order(), given=webhook(event_type="order.created"))
    assert outcomes(route) == ("triggered", ["order"], [])


async def test_only_the_newest_version_is_started(router: Router) -> None:
    route = await router.route(saga("Order", take, version=2), saga("Order", take))
    assert [request.version for _, request in route.starts] == [2]


async def test_every_webhook_has_its_own_route_in_the_order_given(router: Router) -> None:
    given = [webhook(f"evt-{number}", {"total": number}) for number in range(20)]
    routes = await router.routes([saga("Order", take)], *given)
    assert [route.webhook for route in routes] == given
    assert [route.starts[0][1].context["total"] for route in routes] == list(range(20))


# -- which saga it is -------------------------------------------------------------------------------------------


async def test_without_an_idempotency_key_every_webhook_is_a_saga_of_its_own(router: Router) -> None:
    one, two = await router.routes([saga("Order", take)], webhook("evt-1"), webhook("evt-2"))
    assert one.starts[0][0] == saga_id("shop", "order", "evt-1")
    assert two.starts[0][0] == saga_id("shop", "order", "evt-2")


@pytest.mark.parametrize(
    ("value", "identity"), [(7, "7"), ("7", "7"), ("å b", "å b"), (True, "true"), (1.5, "1.5"), ("", "")]
)
async def test_a_scalar_in_the_body_is_the_identity(router: Router, value: object, identity: str) -> None:
    route = await router.route(
        saga("Order", take, idempotency_key="total"), given=webhook(body={"total": value})
    )
    assert route.starts[0][0] == saga_id("shop", "order", identity)


@pytest.mark.parametrize(
    "body",
    [
        {"total": 1},
        {"total": 1, "order": None},
        {"total": 1, "order": {"id": None}},
        {"total": 1, "order": {"id": [7]}},
        {"total": 1, "order": {"id": {"x": 1}}},
        {"total": 1, "order": [{"id": 7}]},
    ],
)
async def test_without_a_usable_field_there_is_no_saga_and_the_route_says_which(
    router: Router, body: object
) -> None:
    route = await router.route(saga("Order", take, idempotency_key="order.id"), given=webhook(body=body))
    assert outcomes(route) == ("failed", [], ["order"])
    assert "no usable field 'order.id'" in str(route.routed.reason)


async def test_who_declines_needs_no_identity(router: Router) -> None:
    route = await router.route(
        saga("Order", lambda self, event: None, idempotency_key="order.id"), given=webhook(body={"a": 1})
    )
    assert outcomes(route) == ("ignored", [], [])


# -- why there is none ------------------------------------------------------------------------------------------


async def test_a_webhook_that_every_trigger_declines_is_ignored(router: Router) -> None:
    route = await router.route(saga("Order", lambda self, event: None))
    assert outcomes(route) == ("ignored", [], [])
    assert route.routed.reason == "every trigger declined it"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (webhook(source="bank"), "no trigger wants events without a type from the source 'bank'"),
        (
            webhook(event_type="order.paid"),
            "no trigger wants events of type 'order.paid' from the source 'shop'",
        ),
    ],
)
async def test_a_webhook_that_nobody_wants_is_ignored_and_says_so(
    router: Router, given: Webhook, reason: str
) -> None:
    route = await router.route(saga("Order", take, event="order.created"), given=given)
    assert outcomes(route) == ("ignored", [], [])
    assert route.routed.reason == reason


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'"\\ud800"'])
async def test_a_body_that_is_not_json_fails_its_own_route(router: Router, body: bytes) -> None:
    unreadable, fine = await router.routes(
        [saga("Order", take)], Webhook(envelope("evt-1"), body), webhook("evt-2")
    )
    assert outcomes(unreadable) == ("failed", [], [])
    assert str(unreadable.routed.reason).startswith("the body is not JSON")
    assert outcomes(fine) == ("triggered", ["order"], [])


async def test_a_trigger_that_fails_costs_its_own_route_only(router: Router) -> None:
    def fail(self: object, event: Any) -> dict[str, Any]:
        raise ValueError("no such customer")

    async def fail_later(self: object, event: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise TimeoutError("the directory is slow")

    route = await router.route(saga("Broken", fail), saga("Order", take), saga("Slow", fail_later))
    assert outcomes(route) == ("triggered", ["order"], ["broken", "slow"])
    assert route.routed.reason is None
    assert route.routed.errors[0].error == "ValueError: no such customer"
    alone = await router.route(saga("Broken", fail))
    assert outcomes(alone) == ("failed", [], ["broken"])
    assert alone.routed.reason == "broken: ValueError: no such customer"


async def test_a_slow_trigger_is_cut_off_and_the_others_are_routed(router: Router) -> None:
    async def forever(self: object, event: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    route = await router.route(saga("Slow", forever), saga("Order", take), timeout=0.05)
    assert outcomes(route) == ("triggered", ["order"], ["slow"])
    assert route.routed.errors[0].error == "TimeoutError: the trigger took more than 0.05 s"


async def test_a_slow_trigger_in_a_thread_is_cut_off_and_the_others_are_routed(router: Router) -> None:
    def stuck(self: object, event: Any) -> dict[str, Any]:
        if event["total"] == 0:
            router.release.wait()
        return {}

    given = [webhook("evt-0", {"total": 0}), webhook("evt-1", {"total": 1})]
    slow, fine = await router.routes([saga("Slow", stuck), saga("Order", take)], *given, timeout=0.3)
    assert outcomes(slow) == ("triggered", ["order"], ["slow"])
    assert outcomes(fine) == ("triggered", ["slow", "order"], [])
    assert slow.routed.errors[0].error == "TimeoutError: the trigger took more than 0.3 s"


@pytest.mark.parametrize("answer", [7, "context", [], (), True, 0, False, object()])
async def test_a_trigger_returns_a_dict_or_none(router: Router, answer: object) -> None:
    route = await router.route(saga("Odd", lambda self, event: answer), saga("Order", take))
    assert outcomes(route) == ("triggered", ["order"], ["odd"])
    assert route.routed.errors[0].error == (
        f"the trigger must return a dict or None, not {type(answer).__name__}"
    )


@pytest.mark.parametrize(
    "context", [{"at": object()}, {1: 2}, {"n": 2**64}, {"text": "\ud800"}, {"raw": b""}]
)
async def test_a_context_that_is_not_json_fails_its_own_route(
    router: Router, context: dict[str, Any]
) -> None:
    route = await router.route(saga("Odd", lambda self, event: context), saga("Order", take))
    assert outcomes(route) == ("triggered", ["order"], ["odd"])
    assert route.routed.errors[0].error.startswith("context_not_json: ")


async def test_a_context_takes_at_most_the_limit_as_json(router: Router) -> None:
    def as_much_as_allowed(self: object, event: Any) -> dict[str, Any]:
        return {"x": "x" * (CONTEXT_LIMIT - len('{"x":""}'))}

    def too_much(self: object, event: Any) -> dict[str, Any]:
        return {"x": "x" * (CONTEXT_LIMIT - len('{"x":""}') + 1)}

    route = await router.route(saga("Large", as_much_as_allowed), saga("Larger", too_much))
    assert outcomes(route) == ("triggered", ["large"], ["larger"])
    assert route.routed.errors[0].error == (
        f"context_too_large: {CONTEXT_LIMIT + 1} bytes of JSON, the limit is {CONTEXT_LIMIT}"
    )


async def test_an_empty_context_is_a_context(router: Router) -> None:
    route = await router.route(saga("Order", lambda self, event: {}))
    assert outcomes(route) == ("triggered", ["order"], [])


async def test_every_route_can_be_written_to_the_log(router: Router) -> None:
    def fail(self: object, event: Any) -> dict[str, Any]:
        raise ValueError("x" * 100_000)

    route = await router.route(saga("Broken", fail), saga("Order", take))
    assert len(route.routed.to_json()) < 10_000
    assert route.starts[0][1].to_json()


# -- hostile users' code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, 2), [1, 2]),
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00+00:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (float("nan"), None),
    ],
)
async def test_a_context_is_kept_as_what_the_log_says_of_it(
    router: Router, value: object, kept: object
) -> None:
    route = await router.route(saga("Odd", lambda self, event: {"value": value}), saga("Order", take))
    assert outcomes(route) == ("triggered", ["odd", "order"], [])
    request = route.starts[0][1]
    assert request.context == {"value": kept}
    assert decode_data(request.ce_type, request.to_json()) == request


async def test_a_context_that_no_reader_could_read_fails_its_route(router: Router) -> None:
    body: Any = 7
    for _ in range(230):
        body = [body]
    given = webhook(body={"a": body, "total": 1})
    route = await router.route(saga("Deep", lambda self, event: event), saga("Order", take), given=given)
    assert outcomes(route) == ("triggered", ["order"], ["deep"])


async def test_an_error_text_can_always_be_written_to_the_log(router: Router) -> None:
    def fail(self: object, event: Any) -> dict[str, Any]:
        raise ValueError("name \udc80")

    route = await router.route(saga("Broken", fail))
    assert b"ValueError: name ?" in route.routed.to_json()


async def test_an_exception_that_cannot_be_told_costs_its_own_route_only(router: Router) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail(self: object, event: Any) -> dict[str, Any]:
        raise Silent

    route = await router.route(saga("Broken", fail), saga("Order", take))
    assert outcomes(route) == ("triggered", ["order"], ["broken"])


async def test_a_trigger_that_exits_or_cancels_costs_its_own_route_only(router: Router) -> None:
    def leave(self: object, event: Any) -> dict[str, Any]:
        raise SystemExit(3)

    async def cancel(self: object, event: Any) -> dict[str, Any]:
        raise asyncio.CancelledError

    route = await router.route(saga("Leaver", leave), saga("Order", take), saga("Canceller", cancel))
    assert outcomes(route) == ("triggered", ["order"], ["leaver", "canceller"])


async def test_a_time_out_of_the_trigger_s_own_is_told_as_its_own(router: Router) -> None:
    async def fail(self: object, event: Any) -> dict[str, Any]:
        raise TimeoutError("the directory is slow")

    route = await router.route(saga("Slow", fail))
    assert route.routed.errors[0].error == "TimeoutError: the directory is slow"


async def test_what_a_trigger_does_to_the_event_is_not_seen_by_another(router: Router) -> None:
    def spoil(self: object, event: Any) -> dict[str, Any]:
        event.clear()
        return {}

    route = await router.route(
        saga("Spoiler", spoil, idempotency_key="order.id"),
        saga("Order", take, idempotency_key="order.id"),
    )
    assert outcomes(route) == ("triggered", ["spoiler", "order"], [])


async def test_triggers_that_never_end_do_not_use_up_the_threads_of_the_others(router: Router) -> None:
    def stuck(self: object, event: Any) -> dict[str, Any]:
        router.release.wait()
        return {}

    sagas = [saga("Stuck", stuck), saga("Order", take)]
    triggers = Triggers(SagaApp(sagas), timeout=0.05)
    for number in range(12):  # and beyond what may hang at once
        (route,) = await triggers.evaluate([webhook(f"evt-{number}")])
        assert outcomes(route) == ("triggered", ["order"], ["stuck"])


async def test_a_webhook_that_is_recorded_only_is_ignored_whatever_the_triggers_want(router: Router) -> None:
    route = await router.route(saga("Order", take), given=webhook(recorded_only="ping is recorded only"))
    assert outcomes(route) == ("ignored", [], [])
    assert route.routed.reason == "ping is recorded only"


async def test_a_webhook_that_repeats_another_joins_the_saga_that_that_one_started(router: Router) -> None:
    again = Webhook(envelope("evt-2"), dumps(ORDER), first="evt-1")
    first, second = await router.routes([saga("Order", take)], webhook("evt-1"), again)
    assert [identity for identity, _ in second.starts] == [identity for identity, _ in first.starts]
    assert second.starts[0][1].correlation_id == "cor-evt-2"


async def test_a_webhook_whose_key_another_body_had_a_moment_before_fails_and_says_why(
    router: Router,
) -> None:
    refused = Webhook(envelope(), dumps(ORDER), refused="its Idempotency-Key was used with another body")
    route = await router.route(saga("Order", take), given=refused)
    assert outcomes(route) == ("failed", [], [])
    assert route.routed.reason == "its Idempotency-Key was used with another body"


async def test_a_trigger_is_given_the_fields_of_a_form_and_the_data_of_a_cloud_event(router: Router) -> None:
    form = received_envelope(
        event_id="evt-1",
        source="shop",
        event_type="",
        time=datetime(2030, 1, 1, tzinfo=UTC),
        correlation_id="c",
        content_type="application/x-www-form-urlencoded",
    )
    event = form._replace(id="evt-2", content_type="application/cloudevents+json")
    routes = await router.routes(
        [saga("Order", take)], Webhook(form, b"total=12"), Webhook(event, dumps({"data": {"total": 13}}))
    )
    assert [route.starts[0][1].context for route in routes] == [{"total": "12"}, {"total": 13}]
    unread = Webhook(event, dumps({"data_base64": "%"}))
    (route,) = await router.routes([saga("Order", take)], unread)
    assert route.routed.outcome == "failed"
    assert "not what its content type says" in str(route.routed.reason)
