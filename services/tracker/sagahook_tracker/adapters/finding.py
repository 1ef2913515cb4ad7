"""Finds runs by what operators know of them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from orjson import JSONDecodeError, dumps, loads

from sagahook.runtime.database import reaching_database
from sagahook_tracker.adapters.rows import run_of, without_nul
from sagahook_tracker.domain.operating import Filter
from sagahook_tracker.domain.runs import Run

_START = "-infinity"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the start of its last run as PostgreSQL writes it, and that run's number."""

    started: str
    number: int

    def cursor(self) -> str:
        return urlsafe_b64encode(dumps([self.started, self.number])).decode()

    @classmethod
    def from_cursor(cls, cursor: str) -> Position | None:
        """None where it is none of ours."""
        with suppress(NotBase64, JSONDecodeError, UnicodeError, ValueError, TypeError):
            started, number = loads(urlsafe_b64decode(cursor))
            if started != _START:
                datetime.fromisoformat(started)
            if isinstance(number, int) and 0 <= number < 2**63:
                return cls(started, number)
        return None


class Finder:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def runs(
        self, wanted: Filter, how_many: int, after: Position | None = None
    ) -> tuple[list[Run], Position | None]:
        """The newest runs of sagas, those that started last first, without their contexts; and where to go on, None at
        the end."""
        rows = await self._find(wanted, how_many + 1, after)
        page = rows[:how_many]
        more = Position(page[-1]["position"], page[-1]["number"]) if len(rows) > how_many else None
        return [_run(row) for row in page], more

    async def _find(self, wanted: Filter, how_many: int, after: Position | None) -> list[Any]:
        parameters = {
            "states": list(wanted.states) or None,
            "name": wanted.name,
            "version": wanted.version,
            "cause": wanted.cause,
            "source": wanted.source,
            "attributes": [without_nul(each) for each in wanted.attributes] or None,
            "started_before": wanted.started_before,
            "started_after": wanted.started_after,
            "after_start": None if after is None else after.started,
            "after_number": None if after is None else after.number,
            "how_many": how_many,
        }
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._queries.plan_for_these_values(connection)
                return [row async for row in self._queries.find_runs(connection, **parameters)]


def _run(row: Any) -> Run:
    fields = dict(row)
    del fields["position"]
    return run_of(fields)
