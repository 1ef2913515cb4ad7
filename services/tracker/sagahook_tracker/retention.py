"""Lets go of what the views need not keep, and makes the partitions of the next days."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.database import NotMigrated, alone, reaching_database
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

    async def clean(self) -> Counter[str]:
        """What was let go: partitions and rows, by table; nothing where another process is at it. Raises Unavailable,
        NotMigrated or Busy, and then something is left for the next time."""
        gone: Counter[str] = Counter()
        with reaching_database():
            async with (
                self._pool.acquire() as connection,
                alone(connection, "sagahook.retention", self._schema) as nobody_else,
            ):
                if nobody_else:
                    await self._clean(connection, gone)
        return gone

    async def _try_to_clean(self) -> None:
        try:
            gone = await self.clean()
        except (Unavailable, NotMigrated, Busy) as reason:
            log.warning("retention.waiting", reason=str(reason))
        except Exception:  # a fault of ours must not keep the projector from projecting
            log.exception("retention.failed")
        else:
            if +gone:
                log.info("retention.cleaned", gone=dict(+gone))

    async def _clean(self, connection: asyncpg.Connection, gone: Counter[str]) -> None:
        now = self._clock.now()
        await Partitions(self._schema).ensure(connection, days_ahead(now))
        await self._patiently(connection, partial(self._raise_cutoffs, connection, now))
        found = [Cutoff(**row) async for row in self._queries.load_cutoffs(connection)]
        for cutoff in found:
            if cutoff.kind in PARTITIONED:
                await self._drop_partitions(connection, cutoff, gone)
            elif cutoff.kind == "finished":
                await self._expire_in_order(connection, "webhooks", cutoff.before, gone)
                await self._expire_in_order(connection, "runs", cutoff.before, gone)
            else:
                await self._expire(connection, cutoff, gone)

    async def _raise_cutoffs(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Once this is committed, no projector writes what is older."""
        await self._queries.close_gate(connection)
        for cutoff in cutoffs(self._kept, now):
            await self._queries.raise_cutoff(
                connection, kind=cutoff.kind, before=cutoff.before, rows=cutoff.rows
            )

    async def _drop_partitions(
        self, connection: asyncpg.Connection, cutoff: Cutoff, gone: Counter[str]
    ) -> None:
        found = [row["name"] async for row in self._queries.partitions(connection, parent=cutoff.kind)]
        for name in found:
            if is_over(name, cutoff.before):
                await self._patiently(
                    connection, partial(connection.execute, f"DROP TABLE {self._schema}.{name}")
                )
                gone[f"days of {cutoff.kind}"] += 1

    async def _patiently(
        self, connection: asyncpg.Connection, change: Callable[[], Awaitable[object]]
    ) -> None:
        """In a transaction of its own. Raises Busy."""
        for _ in range(_TRIES):
            with suppress(asyncpg.LockNotAvailableError):
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
                    await change()
                    return
            await asyncio.sleep(_PAUSE)
        raise Busy("a long transaction holds the tables, such as a backup or `sagahook tracker verify`")

    async def _expire_in_order(
        self, connection: asyncpg.Connection, table: str, before: datetime, gone: Counter[str]
    ) -> None:
        """Once through all that is old enough; what must stay is passed. Again as long as that sets others free."""
        query = {"webhooks": self._queries.expire_events, "runs": self._queries.expire_runs}[table]
        freed = True
        while freed:
            freed, more = False, True
            position: tuple[datetime, int] = (_BEGINNING, 0)
            while more:
                after_time, after_number = position
                passed = await query(
                    connection,
                    before=before,
                    after_time=after_time,
                    after_number=after_number,
                    how_many=AT_ONCE,
                )
                gone[table] += passed["gone"]
                freed = freed or passed["gone"] > 0
                more = passed["looked"] == AT_ONCE
                position = passed["last_time"], passed["last_number"]

    async def _expire(self, connection: asyncpg.Connection, cutoff: Cutoff, gone: Counter[str]) -> None:
        query = {"rollups": self._queries.expire_rollups, "deliveries": self._queries.expire_deliveries}
        last = AT_ONCE
        while last == AT_ONCE:
            last = await query[cutoff.kind](connection, before=cutoff.before, how_many=AT_ONCE)
            gone[cutoff.kind] += last
