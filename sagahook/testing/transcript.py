"""A saga's log as people read it, a line an event: `3 +0.100 step.completed charge action 1 result=…`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from textwrap import fill
from typing import Any, Protocol

from orjson import dumps

from sagahook_schemas.base import JsonValue

_MOMENTS = ("times_out_at", "due_at", "deadline_at")
_OF_A_STEP = ("step", "phase", "attempt")


class Told(Protocol):
    """One event. kind: `step.completed`. data: as JSON has it."""

    @property
    def sequence(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def time(self) -> datetime | None: ...


def transcript(
    events: Iterable[Told], *, beginning: datetime, intent: str = "", applied: Iterable[str] | None = None
) -> str:
    """The events, with times as seconds since the beginning.

    intent: what the saga shows, as a comment at the top. applied: the effects that were seen, as a list at the end.
    """
    return "\n".join(
        [*_intent(intent), *(line(event, beginning) for event in events), *_applied(applied), ""]
    )


def line(event: Told, beginning: datetime) -> str:
    """Every field of the event's data is in its line."""
    if event.time is None:
        raise ValueError(f"the event {event.sequence} has no time")
    fields = dict(event.data)
    if event.kind.startswith("step."):
        what = " ".join(str(fields.pop(name)) for name in _OF_A_STEP if name in fields)
    elif event.kind == "saga.started":
        what = f"{fields.pop('name')}@{fields.pop('version')}"
    else:
        what = str(fields.pop("name", ""))
    moment = f"+{(event.time - beginning).total_seconds():.3f}"
    rest = (f"{name}={_value(name, value, beginning)}" for name, value in fields.items())
    return " ".join(word for word in (f"{event.sequence:>2} {moment:>8}", event.kind, what, *rest) if word)


def _value(name: str, value: JsonValue, beginning: datetime) -> str:
    if name in _MOMENTS and isinstance(value, str):
        return f"+{(datetime.fromisoformat(value) - beginning).total_seconds():.3f}"
    return dumps(value).decode()


def _intent(text: str) -> Iterator[str]:
    if text:
        yield fill(" ".join(text.split()), 100, initial_indent="# ", subsequent_indent="# ")
        yield ""


def _applied(effects: Iterable[str] | None) -> Iterator[str]:
    if effects is not None:
        yield from ("", "applied:")
        yield from [f"  {effect}" for effect in effects] or ["  nothing"]
