"""The language of an endpoint's `filter`: `attributes.repository == "a/b" and progress >= 0.5`.

An expression is parsed once, and then says yes or no of every event: it never fails, never loops, and reaches nothing
but the fields that it is given. What is absent is null; an order between values of different kinds is false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from orjson import JSONDecodeError, loads

FIELDS = (
    "type",
    "source",
    "saga",
    "version",
    "run",
    "state",
    "status",
    "progress",
    "error",
    "user_id",
    "correlation_id",
    "attributes",
)
"""What an expression may begin a path with."""

LONGEST = 2_000
"""Characters."""
_DEEPEST = 40
"""Parentheses and `not` within each other."""

Evaluate = Callable[[Mapping[str, Any]], Any]


class FilterError(ValueError):
    """A person must correct the expression. position: the character, from 1."""

    def __init__(self, position: int, said: str) -> None:
        super().__init__(f"at character {position}: {said}")
        self.position = position


class Filter:
    def __init__(self, text: str) -> None:
        """Raises FilterError."""
        if len(text) > LONGEST:
            raise FilterError(LONGEST + 1, f"a filter has at most {LONGEST} characters")
        self._evaluate = _Parser(text).parse()

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """fields: by the names of FIELDS, JSON values."""
        return self._evaluate(fields) is True


@lru_cache(maxsize=4_096)
def parsed(text: str) -> Filter:
    """Raises FilterError."""
    return Filter(text)


class _Token(NamedTuple):
    """kind: `word`, `string`, `number`, `symbol`, or `end`. at: from 1."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)
      | (?P<symbol>==|!=|<=|>=|<|>|\(|\)|\[|\]|,|\.)
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            at = len(text) - len(text[position:].lstrip())
            raise FilterError(at + 1, _unreadable(text[at:]))
        kind = match.lastgroup or "end"
        found.append(_Token(kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return found


def _unreadable(rest: str) -> str:
    if rest.startswith('"'):
        return 'this text is not closed: it ends with "'
    if rest.startswith("'"):
        return "a text stands between double quotes"
    if rest.startswith("="):
        return "equality is written =="
    if rest.startswith(("&", "|", "!")):
        return "write and, or, not"
    return f"{rest[0]!r} means nothing here"


class _Parser:
    """Recursive descent: or, and, not, comparison, value."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def parse(self) -> Evaluate:
        expression = self._either()
        self._expect("end", "the expression ends here, or goes on with and, or")
        return expression

    def _either(self) -> Evaluate:
        parts = [self._both()]
        while self._took("word", "or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda fields: any(part(fields) is True for part in parts)

    def _both(self) -> Evaluate:
        parts = [self._negated()]
        while self._took("word", "and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else lambda fields: all(part(fields) is True for part in parts)

    def _negated(self) -> Evaluate:
        if not self._took("word", "not"):
            return self._comparison()
        self._deeper()
        denied = self._negated()
        self._depth -= 1
        return lambda fields: denied(fields) is not True

    def _comparison(self) -> Evaluate:
        left = self._value()
        token = self._peek()
        negated = token.kind == "word" and token.text == "not"
        if negated:
            self._take()
            self._expect("word", "after not comes in: not in […]", "in")
            token = _Token("word", "in", token.at)
        elif token.text in _COMPARISONS and token.kind in ("symbol", "word"):
            self._take()
        else:
            return left
        right, compare = self._value(), _COMPARISONS[token.text]
        if negated:
            return lambda fields: not compare(left(fields), right(fields))
        return lambda fields: compare(left(fields), right(fields))

    def _value(self) -> Evaluate:
        token = self._take()
        if token.kind in ("string", "number"):
            return _constant(_literal(token))
        if token.kind == "word" and token.text in _CONSTANTS:
            return _constant(_CONSTANTS[token.text])
        if token.kind == "word" and token.text not in _RESERVED:
            return self._path(token)
        if token.text == "(":
            self._deeper()
            inner = self._either()
            self._expect("symbol", ") is missing", ")")
            self._depth -= 1
            return inner
        if token.text == "[":
            return self._list()
        raise FilterError(token.at, f"a value belongs here, such as progress or 0.5, not {_shown(token)}")

    def _list(self) -> Evaluate:
        items: list[Any] = []
        while not self._took("symbol", "]"):
            if items:
                self._expect("symbol", "a list goes on with , or ends with ]", ",")
            token = self._take()
            if token.kind in ("string", "number"):
                items.append(_literal(token))
            elif token.kind == "word" and token.text in _CONSTANTS:
                items.append(_CONSTANTS[token.text])
            else:
                raise FilterError(
                    token.at, f"a list holds texts, numbers, true, false and null, not {_shown(token)}"
                )
        return _constant(items)

    def _path(self, root: _Token) -> Evaluate:
        if root.text not in FIELDS:
            raise FilterError(
                root.at,
                f"there is no {root.text}: there are {', '.join(FIELDS)}; a text is written with quotes",
            )
        parts: list[str] = [root.text]
        while True:
            if self._took("symbol", "."):
                parts.append(
                    self._expect("word", 'after . comes a name; another key is written ["key"]').text
                )
            elif self._took("symbol", "["):
                key = self._expect("string", 'a key is written ["key"]')
                parts.append(_literal(key))
                self._expect("symbol", "] is missing", "]")
            else:
                return lambda fields: _at(fields, parts)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FilterError(self._peek().at, f"this is nested more than {_DEEPEST} deep")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _took(self, kind: str, text: str) -> bool:
        found = self._peek().kind == kind and self._peek().text == text
        self._next += found
        return found

    def _expect(self, kind: str, said: str, text: str | None = None) -> _Token:
        token = self._take()
        if token.kind != kind or text not in (None, token.text):
            raise FilterError(token.at, f"{said}, not {_shown(token)}")
        return token


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else token.text


def _literal(token: _Token) -> Any:
    try:
        return loads(token.text)
    except JSONDecodeError:
        raise FilterError(token.at, f"{token.text} is not written as in JSON") from None


def _constant(value: Any) -> Evaluate:
    return lambda _: value


def _at(fields: Mapping[str, Any], parts: list[str]) -> Any:
    found: Any = fields
    for part in parts:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _kind(value: Any) -> type:
    """Numbers are of one kind, and truth values are no numbers."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _equal(left: Any, right: Any) -> bool:
    return _kind(left) is _kind(right) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: (
        _kind(left) is _kind(right) and _kind(left) in (float, str) and compare(left, right)
    )


def _is_in(left: Any, right: Any) -> bool:
    return isinstance(right, list) and any(_equal(left, each) for each in right)


def _contains(left: Any, right: Any) -> bool:
    return right in left if isinstance(left, str) and isinstance(right, str) else _is_in(right, left)


_CONSTANTS = {"true": True, "false": False, "null": None}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _is_in,
    "contains": _contains,
    "starts_with": lambda left, right: (
        isinstance(left, str) and isinstance(right, str) and left.startswith(right)
    ),
    "ends_with": lambda left, right: (
        isinstance(left, str) and isinstance(right, str) and left.endswith(right)
    ),
}
_RESERVED = frozenset({"and", "or", "not", "in", "contains", "starts_with", "ends_with"})
