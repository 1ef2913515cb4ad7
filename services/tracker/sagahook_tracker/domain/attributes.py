"""The attributes by which runs are found, as a list is asked for them: by their names and one word each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from sagahook_schemas.base import JsonValue
from sagahook_schemas.erasable import MARK

_LONGEST = 200
"""Characters: an entry of an index holds so many. Words that are longer are told apart by the run."""


class Listed(NamedTuple):
    attribute: str
    word: str


def listed(attributes: Mapping[str, JsonValue]) -> Iterator[Listed]:
    """Those of a run. Objects, lists and null are not found by a word, nor is what is sealed or
    has a very long name. Migration 0008 says the
    same in SQL."""
    for name, value in attributes.items():
        word = _word(value)
        if word is not None and len(name) <= _LONGEST and name != MARK:
            yield Listed(name, word[:_LONGEST])


def only_one(alternatives: Collection[Mapping[str, JsonValue]]) -> Listed | None:
    """What each of the alternatives asks for, and nothing else: None where they ask for several things."""
    asked = {tuple(listed(each)) if len(each) == 1 else () for each in alternatives}
    found = asked.pop() if len(asked) == 1 else ()
    return found[0] if found else None


def _word(value: JsonValue) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{Decimal(repr(value)).normalize() + 0:f}"
    return None
