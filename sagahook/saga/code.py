"""Sagas that are functions: `@saga`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, ClassVar, Literal, cast
from uuid import uuid4

from sagahook.saga.declared import Duration
from sagahook.saga.journal import CodeFirst, running_loop
from sagahook.saga.language import Saga, trigger
from sagahook.saga.local import LocalJournal
from sagahook.saga.marks import MARK, marks_of
from sagahook.saga.problems import refuse
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import SagaDefinition


class CodeSaga(Saga):
    """What `@saga` makes of a function. An instance is what the engine holds; called with a context it runs
    in-process."""

    function: ClassVar[Callable[..., Any]]
    """`(ctx: CodeContext, event_context: dict)`: plain or async."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Without arguments an instance; `charge_order({"order": 7})` is `charge_order.run({"order": 7})`."""
        return cls.run(*arguments, **options) if arguments or options else super().__new__(cls)

    @classmethod
    def run(
        cls,
        context: Mapping[str, JsonValue] | None = None,
        *,
        journal: LocalJournal | None = None,
        saga_id: str | None = None,
        sagas: Iterable[CodeFirst] = (),
    ) -> Any:
        """Run it in this process, without Kafka, and undo it where it fails: awaitable in async code, else
        its result.

        journal: with its own waiting, jitter and context. sagas: what it runs as children. Raises
        SagaAborted.
        """
        if journal is None:
            journal = LocalJournal(
                saga=cls.name,
                saga_id=saga_id or str(uuid4()),
                context=context,
                parallel=cls.definition.compensation == "parallel",
                sagas=(cls, *sagas),
            )
        elif context is not None:
            journal.context = context
        if running_loop() is not None:
            return journal.run(cls)
        return asyncio.run(journal.run(cls))


def saga(
    *,
    name: str | None = None,
    version: int = 1,
    source: str | None = None,
    context: Callable[[Any], Any] | None = None,
    compensation: Literal["sequential", "parallel"] = "sequential",
    deadline: Duration | None = None,
    attributes: Mapping[str, str] | None = None,
    **trigger_options: Any,
) -> Callable[[Callable[..., Any]], type[CodeSaga]]:
    """The function `(ctx, event_context)` is a saga: what it asks of `ctx` is remembered, and undone where it
    fails.

    name: the function's own by default. source and trigger_options (event, when, idempotency_key,
    max_concurrent, concurrency_key, rate_limit): those of `@trigger`; further triggers stand below as
    `@trigger(…)`. Without any, only a parent or a script starts it. context: what an event becomes, async
    or not: by default its body, which must then be an object; None means "not for me". The rest as on a
    `Saga` class. Raises DefinitionError.
    """

    def make(function: Callable[..., Any]) -> type[CodeSaga]:
        members: dict[str, Any] = {
            "name": name or function.__name__,
            "version": version,
            "deadline": deadline,
            "attributes": dict(attributes or {}),
            "compensation": compensation,
            "function": staticmethod(function),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
        }
        accept = _handler(context)
        accept.__dict__[MARK] = list(marks_of(function))
        if source is not None:
            accept = trigger(source=source, **trigger_options)(accept)
        if marks_of(accept):
            members["accept"] = accept
        elif trigger_options or context is not None:
            refuse(f"@saga {members['name']}: a trigger needs a source: @saga(source=…)")
        made = cast("type[CodeSaga]", type(function.__name__, (CodeSaga,), members))
        made.definition = SagaDefinition.model_validate({**made.definition.model_dump(), "code": True})
        return made

    return make


def _handler(context: Callable[[Any], Any] | None) -> Callable[[Any, Any], Any]:
    async def accept(self: CodeSaga, body: Any) -> dict[str, JsonValue] | None:
        made = body if context is None else context(body)
        if isawaitable(made):
            made = await made
        if made is not None and not isinstance(made, dict):
            raise TypeError(
                f"the saga {self.name} needs a JSON object: say what an event becomes with @saga(context=…)"
            )
        return made

    return accept
