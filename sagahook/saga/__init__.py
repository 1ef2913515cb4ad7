"""The saga language: what users import.

class Order(Saga):
    @trigger(source="order_created", idempotency_key="order_id")
    def accept(self, event): return {"order_id": event["order_id"]}

    @step(timeout=10)
    async def charge(self, ctx: StepContext): ...

    @compensate("charge")
    async def refund(self, ctx: StepContext, result): ...
"""

from sagahook.saga.app import AppError, SagaApp, load_app
from sagahook.saga.context import StepContext
from sagahook.saga.errors import DefinitionError, PermanentError, UnknownOutcomeError
from sagahook.saga.language import Saga, compensate, step, trigger
from sagahook_schemas.definitions import Retry

__all__ = [
    "AppError",
    "DefinitionError",
    "PermanentError",
    "Retry",
    "Saga",
    "SagaApp",
    "StepContext",
    "UnknownOutcomeError",
    "compensate",
    "load_app",
    "step",
    "trigger",
]
