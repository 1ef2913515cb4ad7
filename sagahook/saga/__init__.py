"""The saga language: what users import.

class Order(Saga):
    @trigger(source="order_created", idempotency_key="order_id", max_concurrent=10)
    def accept(self, event): return {"order_id": event["order_id"]}

    @step(timeout=10)
    async def charge(self, ctx: StepContext): ...

    @compensate("charge")
    async def refund(self, ctx: StepContext, result): ...

    approval = await_signal("approved", timeout=3600)

    @step(after=["approval"], pivot=True)
    async def ship(self, ctx: StepContext): ...

    @step(after=["approval"], when=lambda ctx: ctx.context.get("email"))
    async def tell_the_buyer(self, ctx: StepContext): ...
"""

from sagahook.saga.app import AppError, SagaApp, load_app
from sagahook.saga.context import Continue, StepContext, continue_after
from sagahook.saga.declared import DeclaredStep, StepOptions
from sagahook.saga.errors import DefinitionError, PermanentError, RetryLater, UnknownOutcomeError
from sagahook.saga.language import Saga
from sagahook.saga.marks import compensate, foreach, step, trigger
from sagahook.saga.waits import await_signal, child, sleep
from sagahook_schemas.definitions import RateLimit, Retry

__all__ = [
    "AppError",
    "Continue",
    "DeclaredStep",
    "DefinitionError",
    "PermanentError",
    "RateLimit",
    "Retry",
    "RetryLater",
    "Saga",
    "SagaApp",
    "StepContext",
    "StepOptions",
    "UnknownOutcomeError",
    "await_signal",
    "child",
    "compensate",
    "continue_after",
    "foreach",
    "load_app",
    "sleep",
    "step",
    "trigger",
]
