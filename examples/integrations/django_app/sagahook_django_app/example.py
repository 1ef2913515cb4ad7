"""What `sagahook examples run integrations/django_app` plays."""

from __future__ import annotations

from typing import Any

import gunicorn  # noqa: F401  # so that it is asked for by its name where it is not installed

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import World
from sagahook.embedded.scenes import Narrator, Scene, expect

_GUNICORN = (
    "--workers",
    "2",
    "--threads",
    "8",
    "--worker-class",
    "gthread",
    "--keep-alive",
    "60",
    "--preload",
)


def _stage(place: Place) -> Stage:
    shop = ("--port", str(place.port("shop")), "--db", str(place.folder / "shop.db"))
    web = (*_GUNICORN, "--bind", f"127.0.0.1:{place.port('django')}", "sagahook_django_app.wsgi")
    return Stage(
        app="sagahook_orders.app",
        servers=(
            Server("shop", "sagahook_orders.shop", shop, ready="/ledger"),
            Server("django", "gunicorn", web, ready="/health", after_stack=True),
        ),
        settings={"SHOP_URL": place.url("shop")},
    )


async def order_is_answered(world: World, narrator: Narrator) -> None:
    status, told = await _placed(world, "DJ-1", amount=42)
    expect((status, told["status"]) == (201, "completed"), f"the order is answered 201, not {status}: {told}")
    narrator.seen(f"POST /orders was answered 201 when the saga was done: {told['message']}")
    order = await world.get(f"{world.url('django')}/orders/DJ-1")
    narrator.seen(f"GET /orders/DJ-1 tells its steps: {', '.join(order['done'])}")


async def declined_order_is_undone(world: World, narrator: Narrator) -> None:
    status, told = await _placed(world, "DJ-2", amount=5_000)
    expect(status == 409, f"the order is answered 409, not {status}")
    narrator.seen(f"POST /orders was answered 409: {told['errors'][0]}")


async def webhook_is_handed_on(world: World, narrator: Narrator) -> None:
    url = f"{world.url('django')}/webhooks/order_created"
    accepted = await world.send("POST", url, {"order_id": "DJ-3", "amount": 7})
    narrator.seen(f"POST /webhooks/order_created was handed on, and accepted as {accepted['event_id']}")
    status = await world.get(f"{url}/status/{accepted['correlation_id']}?wait=30")
    expect(status["status"] == "completed", f"its status is completed, not {status['status']}")
    narrator.seen(f"its status is told by the application too: {status['message']}")


async def _placed(world: World, order_id: str, amount: int) -> tuple[int, dict[str, Any]]:
    order = {"order_id": order_id, "amount": amount, "items": ["pen"]}
    async with world.http.post(f"{world.url('django')}/orders", json=order) as answer:
        return answer.status, await answer.json()


_POKE = """curl -i -X POST {django}/orders -H 'Content-Type: application/json' -d '{{"order_id": "B-1", "amount": 42}}'
curl {django}/orders/B-1
curl -i -X POST {django}/webhooks/order_created -H 'Content-Type: application/json' \\
    -d '{{"order_id": "B-2", "amount": 5000}}'
curl {django}/health"""

EXAMPLE = Example(
    "A Django application under gunicorn takes orders and webhooks, and hands them on to ingest.",
    _stage,
    scenes=(
        Scene("An order is answered when it is shipped", order_is_answered),
        Scene("A declined order is undone, and answered 409", declined_order_is_undone),
        Scene("A webhook to the application is handed on", webhook_is_handed_on),
    ),
    poke=_POKE,
)
