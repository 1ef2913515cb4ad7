"""The sagas that the page's test is about."""

from sagahook.saga import Saga, StepContext, compensate, step


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
