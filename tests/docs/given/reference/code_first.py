"""What an order's function calls."""

from typing import Any

from sagahook.saga import StepContext


async def reserve(order: dict[str, Any]) -> dict[str, Any]:
    return {"order": order["id"]}


async def release(ctx: StepContext, stock: Any) -> None: ...


async def charge(order: dict[str, Any]) -> str:
    return f"{order['total']} of {order['id']}"


async def refund(receipt: Any) -> None: ...


async def print_label(stock: dict[str, Any]) -> str:
    return f"label of {stock['order']}"


def promised(page: Any) -> None:
    assert page.saga.get_status()["state"] == "committed"
