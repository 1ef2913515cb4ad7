"""The saga: order_created → reserve inventory → charge payment → ship."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import aiohttp

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger

_QUICK = Retry(max=4, initial=0.2, factor=2, cap=2)
_STUBBORN = Retry(max=12, initial=0.2, factor=2, cap=5)
"""For what undoes: giving up there leaves something behind."""

_session: aiohttp.ClientSession | None = None


class Order(Saga):
    """One for each order id, however many webhooks name it."""

    @trigger(source="order_created", idempotency_key="order_id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {
            "order_id": event["order_id"],
            "user_id": event.get("user_id"),
            "amount": event.get("amount", 0),
            "items": event.get("items", []),
        }

    @step(retry=_QUICK, timeout=5)
    async def reserve_inventory(self, ctx: StepContext) -> Any:
        return await _ask_shop(ctx, "/inventory/reserve", items=ctx.context["items"])

    @compensate("reserve_inventory", retry=_STUBBORN, timeout=5)
    async def release_inventory(self, ctx: StepContext, reservation: Any) -> Any:
        return await _ask_shop(ctx, "/inventory/release")

    @step(retry=_QUICK, timeout=5)
    async def charge_payment(self, ctx: StepContext) -> Any:
        return await _ask_shop(ctx, "/payments/charge", amount=ctx.context["amount"])

    @compensate("charge_payment", retry=_STUBBORN, timeout=5)
    async def refund_payment(self, ctx: StepContext, charge: Any) -> Any:
        return await _ask_shop(ctx, "/payments/refund")

    @step(retry=_QUICK, timeout=5)
    async def ship(self, ctx: StepContext) -> Any:
        return await _ask_shop(ctx, "/shipping/ship")

    @compensate("ship", retry=_STUBBORN, timeout=5)
    async def cancel_shipment(self, ctx: StepContext, shipment: Any) -> Any:
        return await _ask_shop(ctx, "/shipping/cancel")


async def _ask_shop(ctx: StepContext, path: str, **details: Any) -> Any:
    """POST to the shop under the step's idempotency key; its JSON answer.

    Raises PermanentError where the shop refuses, ConnectionError where it may or may not have heard us.
    """
    headers = {"Idempotency-Key": ctx.idempotency_key, "X-Correlation-ID": ctx.correlation_id}
    if ctx.phase == "compensation":
        headers["Undoes"] = ctx.action_key
    body: Mapping[str, Any] = {"order_id": ctx.context["order_id"], **details}
    url = os.environ.get("SHOP_URL", "http://127.0.0.1:8090") + path
    try:
        async with _shop().post(url, json=body, headers=headers) as answer:
            said = await answer.json(content_type=None)
    except aiohttp.ClientConnectionError as broken:
        raise ConnectionError(f"the connection to the shop broke: {broken}") from broken
    if answer.status in (402, 409, 422):
        raise PermanentError(f"the shop refused {path}: {said['error']}")
    if answer.status != 200:
        raise RuntimeError(f"the shop answered {answer.status} to {path}")
    return said


def _shop() -> aiohttp.ClientSession:
    """One pool of connections for the process, made when the first action runs."""
    global _session  # noqa: PLW0603  # a saga has no start-up hook; the runner has one loop
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200))
    return _session
