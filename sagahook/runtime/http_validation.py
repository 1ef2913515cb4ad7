"""What is wrong with a request's parameters and body, in words for whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_MOST = 5


class Wrong(NamedTuple):
    """where: `query.limit`, `body.filter.state`. problem: what is wrong, and what is allowed; never the value, which
    may be a secret."""

    where: str
    problem: str


_PROBLEMS = {
    "missing": "is needed",
    "extra_forbidden": "is not known here: check how it is written, or leave it out",
    "model_attributes_type": "must be a JSON object, sent with Content-Type: application/json",
    "dict_type": "must be a JSON object",
}
_WORDS = (
    ("Input should have ", "must have "),
    ("Input should be ", "must be "),
    ("String should ", "must "),
    ("List should ", "must "),
    ("Value error, ", ""),
)
"""How pydantic's texts begin, and what stands there for a person who has never heard of an input."""


def wrongs(errors: Iterable[Mapping[str, Any]]) -> list[Wrong]:
    """errors: pydantic's. The first of each place, and of at most five places."""
    found: dict[str, Wrong] = {}
    for error in errors:
        where = _where(error)
        found.setdefault(where, Wrong(where, _problem(error)))
    return list(found.values())[:_MOST]


def _where(error: Mapping[str, Any]) -> str:
    """The place, without the alternatives of a union that pydantic tried there."""
    if error["type"] == "json_invalid":
        return "body"
    return ".".join(str(part) for part in error["loc"] if not _is_alternative(part))


def _is_alternative(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part.startswith("function-"))


def _problem(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"is no JSON: {error['ctx']['error']} at character {error['loc'][-1]}"
    said: str = _PROBLEMS.get(error["type"], error["msg"])
    for theirs, ours in _WORDS:
        if said.startswith(theirs):
            return ours + said.removeprefix(theirs)
    return said
