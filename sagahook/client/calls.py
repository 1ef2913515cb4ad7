"""A call as a value: what is asked, and what the answer is. Both clients carry the same ones out, each in its way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload
from urllib.parse import quote, urlencode

from pydantic import BaseModel, TypeAdapter, ValidationError

from sagahook.client.errors import NotOurs

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """answer: a type that its body is read as. query, body: what is None in them is left out.

    wait: seconds that the server may take before it answers, on purpose.
    """

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def target(self) -> str:
        """The path with its query, escaped."""
        given = [
            (name, each)
            for name, value in self.query.items()
            if value is not None
            for each in (value if isinstance(value, list | tuple) else [value])
        ]
        return (
            f"{self.path}?{urlencode([(name, _text(each)) for name, each in given])}" if given else self.path
        )

    @property
    def wait(self) -> float:
        return float(self.query.get("wait") or 0)

    @property
    def repeatable(self) -> bool:
        """Whether it does no harm to ask again where nobody knows if it was carried out."""
        body = self.body or {}
        return self.method == "GET" or body.get("signal_id") is not None or "Idempotency-Key" in self.headers

    def json(self) -> bytes | None:
        if self.content is not None or self.body is None:
            return self.content
        given = {name: value for name, value in self.body.items() if value is not None}
        return TypeAdapter(dict[str, Any]).dump_json(given, exclude_none=True)

    def read(self, body: bytes) -> T:
        """Raises NotOurs."""
        if self.answer is str:
            return body.decode(errors="replace")  # type: ignore[return-value]  # T is str then
        try:
            return TypeAdapter(self.answer).validate_json(body)
        except ValidationError as wrong:
            raise NotOurs(f"{self.path} answered something else than {self.answer}: {wrong}") from None


def path(template: str, **parts: object) -> str:
    """Each part escaped as one part."""
    return template.format(**{name: quote(str(part), safe="") for name, part in parts.items()})


class Synchronous(Protocol):
    def run(self, call: Call[T], /) -> T: ...


class Asynchronous(Protocol):
    async def run(self, call: Call[T], /) -> T: ...


class Operation(Generic[P, T]):
    """A function that makes a call, as a method of both clients: of one it returns the answer, of the other it is
    awaited."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Operation[P, T]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Synchronous, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @wraps(self.make)
        def operation(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run(self.make(*args, **kwargs))

        return operation


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return value.model_dump_json() if isinstance(value, BaseModel) else str(value)
