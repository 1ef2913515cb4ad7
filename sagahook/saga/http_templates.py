"""Requests with gaps: `{order_id}` in a URL, a header, a parameter or anywhere in a JSON body.

A gap names a field by a dotted path (`{customer.id}`, `{lines.0.sku}`) and nothing else: no conversion, no format, no
attribute of a Python object. It is looked up in the saga's context; `{results.reserve.id}` in the results of the
steps that completed, `{item}` and `{index}` in what a step does for each of several, `{result.id}`, in a
compensation, in the result of what it undoes, `{context.item}` in the context where its field is called like one
of those. Braces that are meant are doubled: `{{`, `}}`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from sagahook.saga.context import StepContext
from sagahook.saga.errors import PermanentError
from sagahook_schemas.base import JsonValue

_TOKEN = re.compile(r"(?P<double>\{\{|\}\})|\{(?P<path>[^{}]*)\}|(?P<lone>[{}])")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\Z")
_ABSENT = object()


class Gap(NamedTuple):
    path: str


class InvalidTemplate(ValueError):
    """The author must mend the text of a request."""


def parts(text: str) -> Iterator[str | Gap]:
    """The text in pieces. Raises InvalidTemplate."""
    done = 0
    for token in _TOKEN.finditer(text):
        if token.start() > done:
            yield text[done : token.start()]
        done = token.end()
        path = token["path"]
        if token["double"]:
            yield token["double"][0]
        elif path is not None and _PATH.match(path):
            yield Gap(path)
        else:
            raise InvalidTemplate(
                f"{token[0]} is no field: write a dotted path such as {{order.id}}, and double a brace that is meant"
            )
    if done < len(text):
        yield text[done:]


def problems_of(value: object) -> Iterator[str]:
    """What is wrong with the texts in a JSON value."""
    match value:
        case str():
            try:
                list(parts(value))
            except InvalidTemplate as invalid:
                yield str(invalid)
        case Mapping():
            for one in value.values():
                yield from problems_of(one)
        case list() | tuple():
            for one in value:
                yield from problems_of(one)


class Fields:
    """What the gaps of one attempt's request are filled with."""

    def __init__(self, ctx: StepContext, result: JsonValue = None) -> None:
        self._context = ctx.context
        self._special: dict[str, Any] = {
            "context": ctx.context,
            "results": ctx.results,
            "result": result,
            "item": ctx.item,
            "index": ctx.index,
        }

    def get(self, path: str) -> JsonValue:
        """Raises PermanentError where there is no such field: no retry finds it."""
        first, *rest = path.split(".")
        found: Any = self._special[first] if first in self._special else self._context.get(first, _ABSENT)
        for key in rest:
            found = _member(found, key)
        if found is _ABSENT:
            raise PermanentError(
                f"nothing was sent, because the request needs {{{path}}}, which this saga does not have: correct the "
                "path in the step, or let the trigger put the field into the context"
            )
        return found  # type: ignore[no-any-return]  # contexts and results hold nothing but JSON

    def fill(self, template: object) -> Any:
        """A JSON value with its gaps filled. A text that is nothing but a gap becomes the field itself, of its
        own type."""
        match template:
            case str():
                pieces = list(parts(template))
                if len(pieces) == 1 and isinstance(pieces[0], Gap):
                    return self.get(pieces[0].path)
                return self._joined(pieces, str)
            case Mapping():
                return {key: self.fill(one) for key, one in template.items()}
            case list() | tuple():
                return [self.fill(one) for one in template]
        return template

    def text(self, template: str) -> str:
        """Raises PermanentError where a gap's field is no single value."""
        return self._joined(parts(template), str)

    def url(self, template: str) -> str:
        """Each field escaped, so that it stays the one piece of path or query that it was written as."""
        return self._joined(parts(template), lambda text: quote(text, safe=""), empty=False)

    def _joined(
        self,
        pieces: Iterator[str | Gap] | list[str | Gap],
        escape: Callable[[str], str],
        *,
        empty: bool = True,
    ) -> str:
        return "".join(
            piece if isinstance(piece, str) else escape(self._single(piece.path, empty)) for piece in pieces
        )

    def _single(self, path: str, empty: bool) -> str:
        value = self.get(path)
        if value is None or isinstance(value, Mapping | list | tuple):
            raise PermanentError(
                f"nothing was sent, because {{{path}}} stands within a text, and is not a text, a number or a boolean"
            )
        text = as_text(value)
        if not text and not empty:
            # `DELETE /orders/{id}` must not become `DELETE /orders/`.
            raise PermanentError(f"nothing was sent, because {{{path}}} is empty, and it is part of the URL")
        return text


def as_text(value: JsonValue) -> str:
    """A single value as JSON writes it, without a text's quotes."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _member(holder: Any, key: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(key, _ABSENT)
    if isinstance(holder, list | tuple) and key.isascii() and key.isdigit() and int(key) < len(holder):
        return holder[int(key)]
    return _ABSENT
