"""Lets go of what the views need not keep, and makes the partitions of the next days."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.database import NotMigrated, reaching_database
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger
from sagahook_tracker.adapters.partitions import PARTITIONED, Partitions
from sagahook_tracker.domain.retention import Cutoff, Kept, cutoffs, days_ahead, is_over

log = get_logger(__name__)

AT_ONCE = 1_000
"""Rows of one transaction."""

PATIENCE = "200ms"
"""How long it waits for a lock: whoever comes meanwhile waits behind it. Then it makes room, and tries again."""

_TRIES, _PAUSE = 10, 0.5
"""And how often, with so many seconds between."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Busy(Exception):
    """Try again later: readers hold what is to be let go."""


class Retention:
    """One process cleans at a time; `schema` as `queries` (adapters/retention.sql) name it."""

    def __init__(
        self, pool: asyncpg.Pool, queries: Any, kept: Kept, clock: Clock, schema: str = "tracker"
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._kept = kept
        self._clock = clock
        self._schema = schema
        self._cleaning: asyncio.Task[None] | None = None

    async def run(self, stopping: asyncio.Event, every: float) -> None:
        """At once and each `every` seconds, until told to stop."""
        while not stopping.is_set():
            await self._try_to_clean()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), every)

    def trigger(self) -> str:
        """Begins to clean, unless that is being done; an id for the log."""
        task_id = new_event_id()
        log.info("retention.triggered", task_id=task_id)
        if self._cleaning is None or self._cleaning.done():
            self._cleaning = asyncio.create_task(self._try_to_clean(), name="retention")
        return task_id

    async def close(self) -> None:
        if self._cleaning is not None:
            self._cleaning.cancel()
            with suppress(asyncio.CancelledError):
                await self._cleaning

    async def clean(self) -> Mapping[str, int]:
        """What was let go: partitions and rows, by table; nothing where another process is at it. Raises Unavailable,
        NotMigrated or Busy, and then something is left for the next time."""
        gone: Counter[str] = Counter()
        with reaching_database():
            async with self._alone() as alone:
                if alone:
                    await self._clean(gone)
        return gone

    async def _try_to_clean(self) -> None:
        try:
            gone = await self.clean()
        except (Unavailable, NotMigrated, Busy) as reason:
            log.warning("retention.waiting", reason=str(reason))
        else:
            if gone:
                log.info("retention.cleaned", **gone)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        """Whether nobody else cleans; then nobody does until the end of the block."""
        async with self._pool.acquire() as connection:  # whose locks end with its use
            yield await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtext('sagahook.retention'), hashtext($1))", self._schema
            )

    async def _clean(self, gone: Counter[str]) -> None:
        now = self._clock.now()
        async with self._pool.acquire() as connection:
            await Partitions(self._schema).ensure(connection, days_ahead(now))
        await self._patiently(lambda connection: self._raise_cutoffs(connection, now))
        for cutoff in await self._cutoffs():
            if cutoff.kind in PARTITIONED:
                await self._drop_partitions(cutoff, gone)
            elif cutoff.kind == "finished":
                for query, table in (("expire_events", "webhooks"), ("expire_runs", "runs")):
                    await self._expire_in_order(getattr(self._queries, query), table, cutoff.before, gone)
            else:
                await self._expire(getattr(self._queries, f"expire_{cutoff.kind}"), cutoff, gone)

    async def _cutoffs(self) -> list[Cutoff]:
        async with self._pool.acquire() as connection:
            return [Cutoff(**row) async for row in self._queries.load_cutoffs(connection)]

    async def _raise_cutoffs(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Once this is committed, no projector writes what is older."""
        await self._queries.close_gate(connection)
        for cutoff in cutoffs(self._kept, now):
            await self._queries.raise_cutoff(
                connection, kind=cutoff.kind, before=cutoff.before, rows=cutoff.rows
            )

    async def _drop_partitions(self, cutoff: Cutoff, gone: Counter[str]) -> None:
        async with self._pool.acquire() as connection:
            found = [row["name"] async for row in self._queries.partitions(connection, parent=cutoff.kind)]
        for name in found:
            if is_over(name, cutoff.before):
                await self._patiently(partial(_drop, f"{self._schema}.{name}"))
                gone[f"{cutoff.kind}_days"] += 1

    async def _patiently(self, change: Callable[[asyncpg.Connection], Awaitable[Any]]) -> None:
        """In a transaction of its own. Raises Busy."""
        for _ in range(_TRIES):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
                    await change(connection)
                    return
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(_PAUSE)
        raise Busy("a long transaction holds the tables, such as a backup or `sagahook tracker verify`")

    async def _expire_in_order(self, query: Any, table: str, before: datetime, gone: Counter[str]) -> None:
        """Once through all that is old enough; what must stay is passed. Again as long as that sets others free."""
        freed = True
        while freed:
            freed = False
            position: tuple[datetime, int] = (_BEGINNING, 0)
            while True:
                async with self._pool.acquire() as connection:
                    passed = await query(
                        connection,
                        before=before,
                        after_time=position[0],
                        after_number=position[1],
                        how_many=AT_ONCE,
                    )
                gone[table] += passed["gone"]
                freed = freed or passed["gone"] > 0
                if passed["looked"] < AT_ONCE:
                    break
                position = (passed["last_time"], passed["last_number"])

    async def _expire(self, query: Any, cutoff: Cutoff, gone: Counter[str]) -> None:
        last = AT_ONCE
        while last == AT_ONCE:
            async with self._pool.acquire() as connection:
                last = await query(connection, before=cutoff.before, how_many=AT_ONCE)
            gone[cutoff.kind] += last


async def _drop(table: str, connection: asyncpg.Connection) -> None:
    await connection.execute(f"DROP TABLE {table}")
