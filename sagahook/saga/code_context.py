"""What the function of a code-first saga is given to ask with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from sagahook.saga.calls import as_action, as_undo
from sagahook.saga.errors import DefinitionError
from sagahook.saga.journal import Requests
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import TIMEOUTS, CompensationDefinition, Kind, Retry, StepDefinition

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.:-]{0,63}\Z", re.ASCII)
"""Wider than a class's step names, which are methods: existing code calls its steps what it likes. No `/`,
no brackets: they divide the parts of an idempotency key, and mark the items of a step."""

Seconds = float | timedelta


class CodeContext:
    """One run of the function. Its methods are awaited in an `async def` function; in a plain one they
    return what they come to. Whatever else differs from one run to the next (the time, a random number, a
    file's content) belongs in a step.

    saga_id, run: which saga, and which run of it (from 1). context: what the trigger made of the webhook.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        saga: str,
        saga_id: str,
        run: int = 1,
        correlation_id: str = "",
        context: Mapping[str, JsonValue] | None = None,
        user_id: str | None = None,
        traceparent: str = "",
    ) -> None:
        self._requests = requests
        self.saga = saga
        self.saga_id = saga_id
        self.run = run
        self.correlation_id = correlation_id
        self.context = context or {}
        self.user_id = user_id
        self.traceparent = traceparent

    def step(
        self,
        name: str,
        action: Callable[..., Any],
        *arguments: Any,
        compensate: Callable[..., Any] | None = None,
        timeout: Seconds | None = None,
        retry: Retry | None = None,
        kind: Kind = "network",
        pivot: bool = False,
        heartbeat: Seconds | None = None,
        deadline: Seconds | None = None,
        undo_timeout: Seconds | None = None,
        undo_retry: Retry | None = None,
    ) -> Any:
        """The action's result, as JSON has it. The options are those of `@step`; undo_…: of the compensation.

        See sagahook/saga/calls.py for what the two callables are given. Several may be awaited together with
        `asyncio.gather`. Raises StepFailed; DefinitionError.
        """
        definition = step_definition(
            name,
            undoable=compensate is not None,
            timeout=timeout,
            retry=retry,
            kind=kind,
            pivot=pivot,
            heartbeat=_seconds(heartbeat),
            deadline=_seconds(deadline),
            undo_timeout=undo_timeout,
            undo_retry=undo_retry,
        )
        return self._requests.ask(definition, as_action(name, action, arguments), as_undo(name, compensate))

    def sleep(self, name: str, until: Seconds | datetime) -> Any:
        """Wait so many seconds, or until that time (which has a time zone). It survives every restart."""
        if isinstance(until, datetime):
            if until.tzinfo is None:
                raise DefinitionError(f"the step {name!r}: until {until} in which time zone?")
            return self._requests.ask(step_definition(name, does="sleep"), None, None, until.isoformat())
        seconds = _seconds(until)
        return self._requests.ask(step_definition(name, does="sleep", seconds=seconds), None, None, seconds)

    def signal(
        self,
        name: str,
        *,
        timeout: Seconds | None = None,
        on_timeout: Literal["fail", "continue"] = "fail",
        step: str | None = None,
    ) -> Any:
        """The payload of the signal of that name, which may have come before; None where it did not come in
        time and the saga is to continue. step: the step's name, where one signal is waited for twice."""
        definition = step_definition(
            step or name, does="signal", signal=name, patience=_seconds(timeout), on_timeout=on_timeout
        )
        return self._requests.ask(definition)

    def child(
        self,
        name: str,
        saga: str | type[Any],
        context: Mapping[str, JsonValue],
        *,
        version: int | None = None,
    ) -> Any:
        """Run another saga and wait for its result. Undoing this saga undoes it too. saga: its name or its
        class; of a name the newest version, unless one is given."""
        called = saga if isinstance(saga, str) else saga.name
        number = version if version is not None or isinstance(saga, str) else saga.version
        arguments: dict[str, JsonValue] = {"name": called, "version": number, "context": dict(context)}
        return self._requests.ask(step_definition(name, does="child", child=called), None, None, arguments)


def step_definition(
    name: str,
    *,
    undoable: bool = False,
    timeout: Seconds | None = None,
    retry: Retry | None = None,
    kind: Kind = "network",
    undo_timeout: Seconds | None = None,
    undo_retry: Retry | None = None,
    **others: Any,
) -> StepDefinition:
    """Raises DefinitionError, naming the step and the option."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise DefinitionError(
            f"the step name {name!r} must have 1 to 64 letters, digits, spaces or any of _ . : - "
            "and begin with a letter, a digit or _"
        )
    if kind not in TIMEOUTS:
        raise DefinitionError(f"the step {name!r}: kind must be one of {', '.join(TIMEOUTS)}, not {kind!r}")
    try:
        compensation = CompensationDefinition(
            timeout=_seconds(undo_timeout) or TIMEOUTS[kind], retry=undo_retry or Retry()
        )
        return StepDefinition(
            name=name,
            timeout=TIMEOUTS[kind] if timeout is None else _seconds(timeout),
            retry=retry or Retry(),
            kind=kind,
            compensation=compensation if undoable else None,
            **others,
        )
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DefinitionError(f"the step {name!r}: {where}: {first['msg']}, not {first['input']!r}") from None


def _seconds(given: Seconds | None) -> float | None:
    return given.total_seconds() if isinstance(given, timedelta) else given
