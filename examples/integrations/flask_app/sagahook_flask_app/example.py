"""What `sagahook examples run integrations/flask_app` plays."""

from __future__ import annotations

import uuid
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
    bind = ("--bind", f"127.0.0.1:{place.port('flask')}")
    return Stage(
        app="sagahook_orders.app",
        servers=(
            Server("shop", "sagahook_orders.shop", shop, ready="/ledger"),
            Server(
                "flask",
                "gunicorn",
                (*_GUNICORN, *bind, "sagahook_flask_app.app:app"),
                ready="/health",
                after_stack=True,
            ),
        ),
        settings={"SHOP_URL": place.url("shop")},
    )


async def order_is_answered(world: World, narrator: Narrator) -> None:
    status, told = await _placed(world, "FL-1", amount=42)
    expect((status, told["status"]) == (201, "completed"), f"the order is answered 201, not {status}: {told}")
    narrator.seen(f"POST /orders was answered 201 when the saga was done: {told['message']}")
    order = await world.get(f"{world.url('flask')}/orders/FL-1")
    expect(order["state"] == "COMPLETED", f"GET /orders/FL-1 says COMPLETED, not {order['state']}")
    narrator.seen(f"GET /orders/FL-1 tells its steps: {', '.join(order['done'])}")
    async with world.http.get(f"{world.url('flask')}/orders/FL-1/diagram") as answer:
        diagram = await answer.text()
    expect(diagram.startswith("flowchart"), "GET /orders/FL-1/diagram is a Mermaid flowchart")
    narrator.seen("GET /orders/FL-1/diagram draws them")


async def declined_order_is_undone(world: World, narrator: Narrator) -> None:
    status, told = await _placed(world, "FL-2", amount=5_000)
    expect(status == 409, f"the order is answered 409, not {status}")
    narrator.seen(f"POST /orders was answered 409: {told['errors'][0]}")
    order = await world.get(f"{world.url('flask')}/orders/FL-2")
    expect(order["state"] == "ROLLED_BACK", f"the saga's state is ROLLED_BACK, not {order['state']}")
    narrator.seen("its reservation was released")


async def webhook_is_carried_through(world: World, narrator: Narrator) -> None:
    mine = f"mine-{uuid.uuid4().hex[:8]}"
    url = f"{world.url('flask')}/webhooks/order_created"
    body = {"order_id": "FL-3", "amount": 7}
    async with world.http.post(url, json=body, headers={"X-Correlation-ID": mine}) as answer:
        expect(answer.status == 202, f"the webhook is answered 202, not {answer.status}")
        echoed = answer.headers["X-Correlation-ID"]
    expect(echoed == mine, "the sender's correlation id is echoed")
    narrator.seen(f"POST /webhooks/order_created was answered 202, under the sender's correlation id {mine}")
    status = await world.get(f"{url}/status/{mine}?wait=30")
    expect(status["status"] == "completed", f"its status is completed, not {status['status']}")
    narrator.seen(f"GET …/status/{mine} waited, and says: {status['message']}")


async def _placed(world: World, order_id: str, amount: int) -> tuple[int, dict[str, Any]]:
    order = {"order_id": order_id, "amount": amount, "items": ["pen"]}
    async with world.http.post(f"{world.url('flask')}/orders", json=order) as answer:
        return answer.status, await answer.json()


_POKE = """curl -i -X POST {flask}/orders -H 'Content-Type: application/json' -d '{{"order_id": "B-1", "amount": 42}}'
curl {flask}/orders/B-1/diagram
curl -i -X POST {flask}/webhooks/order_created -H 'Content-Type: application/json' \\
    -d '{{"order_id": "B-2", "amount": 5000}}'
curl {flask}/health"""

EXAMPLE = Example(
    "A Flask application under gunicorn takes orders and webhooks; each is durable in Kafka before it is answered.",
    _stage,
    scenes=(
        Scene("An order is answered when it is shipped", order_is_answered),
        Scene("A declined order is undone, and answered 409", declined_order_is_undone),
        Scene("A webhook to the application is carried through", webhook_is_carried_through),
    ),
    poke=_POKE,
)
