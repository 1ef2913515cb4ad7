"""What `sagahook examples run integrations/fastapi_app` plays."""

from __future__ import annotations

from typing import Any

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import World
from sagahook.embedded.scenes import Narrator, Scene, expect


def _stage(place: Place) -> Stage:
    shop = ("--port", str(place.port("shop")), "--db", str(place.folder / "shop.db"))
    web = ("--timeout-keep-alive", "60", "--port", str(place.port("fastapi")), "sagahook_fastapi_app.app:app")
    return Stage(
        app="sagahook_orders.app",
        servers=(
            Server("shop", "sagahook_orders.shop", shop, ready="/ledger"),
            Server("fastapi", "uvicorn", web, ready="/health", after_stack=True),
        ),
        settings={"SHOP_URL": place.url("shop")},
    )


async def order_is_watched(world: World, narrator: Narrator) -> None:
    async with world.http.post(f"{world.url('fastapi')}/orders", json=_order("FA-1", amount=42)) as answer:
        expect(answer.status == 202, f"the order is answered 202, not {answer.status}")
        where = answer.headers["Location"]
    narrator.seen(f"POST /orders was answered 202, with {where} to look at")
    order = await world.until(
        f"{world.url('fastapi')}{where}?wait=30", lambda saga: saga["state"] == "COMPLETED"
    )
    narrator.seen(f"GET {where} waited, and says: COMPLETED, {len(order['completed_steps'])} steps")


async def declined_order_is_undone(world: World, narrator: Narrator) -> None:
    status = await world.send("POST", f"{world.url('fastapi')}/orders/now", _order("FA-2", amount=5_000))
    expect(status["status"] == "failed", f"the order has failed, and its status is {status['status']}")
    narrator.seen(f"POST /orders/now waited, and says: {next(iter(status['saga_errors'].values()))}")


async def routes_are_documented(world: World, narrator: Narrator) -> None:
    document = await world.get(f"{world.url('fastapi')}/openapi.json")
    expect("/webhooks/{source}" in document["paths"], "the webhooks' route is in the OpenAPI document")
    narrator.seen("the webhooks' routes are in the application's own OpenAPI document")


def _order(order_id: str, amount: int) -> dict[str, Any]:
    return {"order_id": order_id, "amount": amount, "items": ["pen"]}


_POKE = """curl -i -X POST {fastapi}/orders -H 'Content-Type: application/json' -d '{{"order_id": "B-1", "amount": 42}}'
curl '{fastapi}/orders/B-1?wait=30'
curl -i -X POST {fastapi}/webhooks/order_created -H 'Content-Type: application/json' \\
    -d '{{"order_id": "B-2", "amount": 5000}}'
{fastapi}/docs in a browser"""

EXAMPLE = Example(
    "A FastAPI application takes orders and webhooks; each is durable in Kafka before it is answered.",
    _stage,
    scenes=(
        Scene("An order is placed at once and watched to its end", order_is_watched),
        Scene("A declined order is undone, and whoever waits is told", declined_order_is_undone),
        Scene("The webhooks' routes are the application's own", routes_are_documented),
    ),
    poke=_POKE,
)
