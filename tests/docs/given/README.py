"""The systems that the README's sagas call."""

from typing import Any

from sagahook.saga import StepContext
from tests.docs.stack import ReadersStack, beside, new_database, placed_order, sent

FILES = {"body.json": "{}"}


class Inventory:
    async def reserve(self, order_id: str, key: str) -> dict[str, str]:
        return {"order": order_id, "key": key}

    async def release(self, order_id: str, undoes: str) -> None: ...


inventory = Inventory()


async def reserve(order_id: str) -> dict[str, str]:
    return {"order": order_id}


async def release(ctx: StepContext, reservation: Any) -> None: ...


async def ship(stock: dict[str, str]) -> str:
    return f"parcel of {stock['order']}"


async def promised(page: Any) -> None:
    """The function runs in one process, as the text says."""
    assert await page.order({"order_id": "A1", "amount": 42}) == {"parcel": "parcel of A1"}


def set_out(stack: ReadersStack) -> dict[str, str]:
    correlation, saga_id = placed_order(stack, "README")
    sent(stack, "expenses", {"id": "README"}).started()
    return {
        # On this stack it is an expense that waits, not an order.
        "signal released --state EXECUTING --name order": "signal approved --state EXECUTING --name expense",
        "status/0198…": f"status/{correlation}",
        "show ID": f"show {saga_id}",
        "--saga ID": f"--saga {saga_id}",
        "tail ID": f"tail {saga_id}",
        "sagahook tracker": f"{beside(stack)} sagahook tracker",
        # A deployment of its own on the same servers.
        "sagahook topics apply --kafka kafka:9092": (
            f"export SAGAHOOK_TOPIC_PREFIX=elsewhere SAGAHOOK_KAFKA={stack.description['kafka']}"
            f" DATABASE_URL='{new_database(stack, 'elsewhere')}' SAGAHOOK_APP=$PWD/shop.py"
            " SECRET_KEY=of-the-tests-and-long-enough\n"
            f"sagahook topics apply --kafka {stack.description['kafka']}"
        ),
    }
