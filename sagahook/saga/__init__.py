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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sagahook.saga.app import AppError, SagaApp, load_app
from sagahook.saga.context import Continue, StepContext, continue_after
from sagahook.saga.declared import DeclaredStep, StepOptions
from sagahook.saga.errors import DefinitionError, PermanentError, RetryLater, UnknownOutcomeError
from sagahook.saga.language import Saga
from sagahook.saga.marks import compensate, foreach, step, trigger
from sagahook.saga.waits import await_signal, child, sleep
from sagahook_schemas.definitions import RateLimit, Retry

if TYPE_CHECKING:
    from sagahook.saga.aborted import SagaAborted
    from sagahook.saga.brokers import Brokers, KafkaSecurity
    from sagahook.saga.code import saga
    from sagahook.saga.code_context import CodeContext
    from sagahook.saga.distributed import DistributedSaga
    from sagahook.saga.http import http_request, http_step
    from sagahook.saga.participant import MemoryInbox, Participant, PostgresInbox, participant_step

_LATER = {
    "Brokers": "brokers",
    "CodeContext": "code_context",
    "DistributedSaga": "distributed",
    "KafkaSecurity": "brokers",
    "MemoryInbox": "participant",
    "Participant": "participant",
    "PostgresInbox": "participant",
    "SagaAborted": "aborted",
    "http_request": "http",
    "http_step": "http",
    "participant_step": "participant",
    "saga": "code",
}
"""What is imported when it is asked for, with the module that it is in: sagas that are classes, and call nobody
over HTTP or Kafka, start without it."""

__all__ = [
    "AppError",
    "Brokers",
    "CodeContext",
    "Continue",
    "DeclaredStep",
    "DefinitionError",
    "DistributedSaga",
    "KafkaSecurity",
    "MemoryInbox",
    "Participant",
    "PermanentError",
    "PostgresInbox",
    "RateLimit",
    "Retry",
    "RetryLater",
    "Saga",
    "SagaAborted",
    "SagaApp",
    "StepContext",
    "StepOptions",
    "UnknownOutcomeError",
    "await_signal",
    "child",
    "compensate",
    "continue_after",
    "foreach",
    "http_request",
    "http_step",
    "load_app",
    "participant_step",
    "saga",
    "sleep",
    "step",
    "trigger",
]


if not TYPE_CHECKING:  # a type checker knows the names above, and tells of any other

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = found
        return found
