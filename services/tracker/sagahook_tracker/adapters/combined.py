"""Several named queries as one statement: a batch of a few records waits for the database, not for its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

_PARAMETER = re.compile(r"\$(\d+)")

Parameters = Mapping[str, Any]


class Combined:
    """queries: of `load_queries`."""

    def __init__(self, queries: Any) -> None:
        self._queries = queries
        self._text = cache(self._combine)

    def statement(self, writes: Sequence[tuple[str, Parameters]], last: tuple[str, Parameters]) -> list[Any]:
        """The text and what its parameters stand for. writes: queries that change rows and return none, of tables that
        do not depend on each other; last: one that begins with WITH, and whose rows are returned."""
        given = [*writes, last]
        text = self._text(tuple(name for name, _ in given))
        return [text, *(values[name] for query, values in given for name in self._names(query))]

    def _combine(self, names: tuple[str, ...]) -> str:
        texts, before = [], 0
        for name in names:
            texts.append(_shifted(getattr(self._queries, name).sql, before))
            before += len(self._names(name))
        *writes, last = texts
        parts = [f"written_{number} AS ({text})" for number, text in enumerate(writes)]
        return ",\n".join(["WITH " + parts[0], *parts[1:], last.removeprefix("WITH ")]) if parts else last

    def _names(self, query: str) -> Sequence[str]:
        """Of the parameters, by their numbers."""
        names: Sequence[str] = self._queries.driver_adapter.var_sorted[query]
        return names


def _shifted(sql: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match[1]) + by}", sql.rstrip().removesuffix(";"))
