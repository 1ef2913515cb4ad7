"""A module that is refused."""

FILES = {
    "hasty.py": """
from sagahook.saga import Saga, compensate, step


class Order(Saga):
    @step
    async def charge(self, ctx): ...

    @compensate("pay")
    async def refund(self, ctx, receipt): ...

    @step(timeout=0)
    async def ship(self, ctx): ...
"""
}
