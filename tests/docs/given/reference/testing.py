"""The sagas that the page's test is about, and an order of the quickstart's to record."""

from sagahook.saga import Saga, StepContext, compensate, step
from tests.docs.stack import ReadersStack, placed_order


class Payment(Saga):
    @step
    async def pay(self, ctx: StepContext) -> None: ...


class Order(Saga):
    @step
    async def reserve(self, ctx: StepContext) -> str:
        return "r-1"

    @compensate("reserve")
    async def release(self, ctx: StepContext, reservation: str) -> None: ...

    @step
    async def charge(self, ctx: StepContext) -> str:
        return "c-1"


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {
        "7c9e6679-…": placed_order(stack, "testing")[1],
        "broker:9092": stack.description["kafka"],
        "my.sagas": str(stack.terminal.folder / "shop.py"),
    }
