"""`sagahook tracker rebuild`: the views made anew from the log, beside those that serve, and put in their place.

Whatever ends it, what serves is whole: until the one transaction that renames the schemas nothing of it is touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

import asyncpg

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.database import NotMigrated, open_pool, reaching_database
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import partition_count
from sagahook_tracker.adapters.log_end import LogEnd
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.schema import MIGRATIONS
from sagahook_tracker.filling import Filling, helpers
from sagahook_tracker.retention import Retention
from sagahook_tracker.settings import TrackerSettings
from sagahook_tracker.verifying import verify

SERVING, FRESH, OLD = "tracker", "tracker_next", "tracker_old"

_KEPT = "kept by sagahook tracker rebuild --keep-old"
_REMARK = "being filled by sagahook tracker rebuild, version "

CLOSE = 2_000
"""Records behind the log: then what has come until now is a matter of a moment."""

GATE_SECONDS = 2.0
"""How long the projectors may be held up; then they go on, and it is tried again."""

_PATIENCE = 30.0
"""Seconds that Kafka may take to say where its log ends."""

_TRIES, _LOOK, _SAY = 30, 0.2, 5.0
"""Tries to swap; seconds between two looks at how far it is, and between two words about it."""


class Refused(Exception):
    """Call an operator: what serves goes on serving, and the text says what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """jobs: processes that fill. keep_old: what served until then stays, as `tracker_old`. resume: go on where a
    rebuild was interrupted."""

    jobs: int = 1
    keep_old: bool = False
    resume: bool = False


Say = Callable[[str], None]
"""Tells a person, in one line."""


async def rebuild(settings: TrackerSettings, options: Options, say: Say) -> None:
    """Raises Refused, NotMigrated, Unavailable, OffsetOutOfRange, TopicsMismatch or KafkaError; to say it again is safe
    after each."""
    await partition_count(settings.kafka, settings.topic_prefix)
    with reaching_database():
        async with _turn(settings) as guard:
            run = Rebuild(settings, options, say, guard)
            await run.prepare()
            await run.fill_and_swap()
            await run.drop_old()


class Rebuild:
    """guard: the connection whose life is the right to rebuild; the swap is made on it."""

    def __init__(
        self, settings: TrackerSettings, options: Options, say: Say, guard: asyncpg.Connection
    ) -> None:
        self._settings = settings
        self._options = options
        self._say = say
        self._guard = guard
        self._queries = load_queries("rebuild.sql")
        self._gate = load_queries("retention.sql")

    async def prepare(self) -> None:
        """A fresh schema without rows, or the one that an interrupted rebuild left."""
        found = {row["name"]: row["remark"] async for row in self._queries.schemas(self._guard)}
        if SERVING not in found:
            raise NotMigrated(
                "there are no views to rebuild: run `sagahook-tracker migrate`, and start the projector"
            )
        if found.get(OLD) == _KEPT:
            raise Refused(
                f"the schema {OLD}, which an earlier rebuild kept, is still there: when nobody needs it any more, "
                f"`DROP SCHEMA {OLD} CASCADE`, and rebuild again"
            )
        if OLD in found:  # a rebuild ended between its swap and this
            await self._drop(OLD)
        mine = _REMARK + version("sagahook")
        if FRESH in found and self._options.resume and found[FRESH] == mine:
            self._say("going on where the last rebuild was interrupted")
            return
        if FRESH in found and self._options.resume:
            raise Refused(
                f"what the interrupted rebuild left was made by another version ({found[FRESH]}): run it without "
                "--resume, to begin anew"
            )
        if FRESH in found:
            self._say("a rebuild was interrupted: beginning anew (--resume would go on with what it left)")
            await self._drop(FRESH)
        await migrate(self._settings.dsn(), FRESH, MIGRATIONS, written_for=SERVING)
        await self._guard.execute(f"COMMENT ON SCHEMA {FRESH} IS '{mine}'")

    async def fill_and_swap(self) -> None:
        pool = await open_pool(self._settings)
        try:
            retention = Retention(
                pool, load_queries("retention.sql", FRESH), self._settings.kept, SystemClock(), FRESH
            )
            await retention.clean()  # sets the cut-offs: what is older is not even written
            filling = Filling(self._settings, pool, FRESH)
            async with _running(filling) as stopped:
                await self._catch_up(pool, stopped)
                await self._finish(pool, retention)
                await self._swap(filling, stopped)
        finally:
            await pool.close()
        self._say("swapped: the new views serve")

    async def drop_old(self) -> None:
        if self._options.keep_old:
            self._say(f"what served until now is kept, as the schema {OLD}")
            return
        await self._drop(OLD)

    async def _catch_up(self, pool: asyncpg.Pool, stopped: asyncio.Task[None]) -> None:
        """With helpers, where there is much to do, until it is close to the log's end; and then up to that end."""
        settings = self._settings
        log_end = LogEnd(settings.kafka, settings.topic_prefix, settings.topics, timeout=_PATIENCE)
        projection = Projection(pool, load_queries(schema=FRESH), schema=FRESH)

        async def left() -> int:
            offsets = await projection.load_offsets(ends)
            return sum(max(0, end - offsets.get(place, 0)) for place, end in ends.items())

        try:
            ends = await log_end.now()
            behind = await left()
            async with helpers(FRESH, self._options.jobs - 1 if behind > CLOSE else 0):
                said = 0.0
                while behind:
                    await self._wait(stopped)
                    try:
                        if behind > CLOSE:  # else it goes on to the end that it is close to
                            ends = await log_end.now()
                        behind = await left()
                    except Unavailable as away:  # the filling waits too, and goes on
                        self._say(f"waiting: {away}")
                        continue
                    if time.monotonic() - said >= _SAY:
                        self._say(f"{behind:,} of {sum(ends.values()):,} records left")
                        said = time.monotonic()
        finally:
            await log_end.close()

    async def _wait(self, stopped: asyncio.Task[None]) -> None:
        """A moment. Raises what ended the filling, or Refused where the right to rebuild is lost."""
        await asyncio.wait({stopped}, timeout=_LOOK)
        if stopped.done():
            stopped.result()
            raise Refused("the filling stopped by itself: rebuild again with --resume")
        if self._guard.is_closed():
            raise Refused(
                "the connection to PostgreSQL was lost: rebuild again, with --resume to go on from here"
            )

    async def _finish(self, pool: asyncpg.Pool, retention: Retention) -> None:
        """Whatever else the new views need before anybody looks at them."""
        await retention.clean()
        for statement in [row["statement"] async for row in self._queries.grants(self._guard)]:
            await self._guard.execute(statement)
        for table in [row["name"] async for row in self._queries.tables(self._guard)]:
            await self._guard.execute(f"ANALYZE {FRESH}.{table}")
        self._say("verifying")
        found = await verify(self._settings, pool, FRESH)
        for difference in found.differences:
            self._say(str(difference))
        if found.differences:
            raise Refused(
                f"the new views differ from the log in {found.count} places, so they do not serve; they are there to "
                f"be looked at, as the schema {FRESH}. This is a fault of ours: tell us"
            )

    async def _swap(self, filling: Filling, stopped: asyncio.Task[None]) -> None:
        for _ in range(_TRIES):
            try:
                await self._try_to_swap(filling)
            except (asyncpg.LockNotAvailableError, TimeoutError):
                await self._wait(stopped)
            else:
                return
        raise Refused(
            "the projectors could not be held up for a moment: a transaction holds the table of offsets, or the new "
            "views do not keep up. Rebuild again with --resume, when there is less to do"
        )

    async def _try_to_swap(self, filling: Filling) -> None:
        """Nobody's views ever go back: what is fresh has seen all that what serves has. Raises LockNotAvailableError
        or TimeoutError, and then nothing has changed."""
        paused = False
        try:
            async with self._guard.transaction():
                await self._queries.be_quick(self._guard)
                await self._gate.close_gate(self._guard)
                async with asyncio.timeout(GATE_SECONDS):
                    topics = self._settings.topics
                    while await self._queries.records_behind(self._guard, topics=topics):  # noqa: ASYNC110  # in the database
                        await asyncio.sleep(0.005)
                await filling.pause()
                paused = True
                await self._rename()
        except BaseException:
            if paused:
                filling.go_on()
            raise

    async def _rename(self) -> None:
        [versions] = [row async for row in self._queries.versions(self._guard)]
        if versions["serving"] != versions["fresh"]:
            raise Refused("the views that serve were migrated meanwhile: rebuild again")
        await self._queries.swap(self._guard)
        await self._guard.execute(f"COMMENT ON SCHEMA {SERVING} IS NULL")
        if self._options.keep_old:
            await self._guard.execute(f"COMMENT ON SCHEMA {OLD} IS '{_KEPT}'")

    async def _drop(self, schema: str) -> None:
        """Raises Refused where somebody reads it for long."""
        for _ in range(_TRIES):
            with suppress(asyncpg.LockNotAvailableError):
                async with self._guard.transaction():
                    await self._guard.execute("SET LOCAL lock_timeout = '1s'")
                    await self._guard.execute(f"DROP SCHEMA {schema} CASCADE")
                    return
            await asyncio.sleep(_LOOK)
        raise Refused(
            f"a long transaction still reads the schema {schema}: rebuild again, or drop it by hand"
        )


@asynccontextmanager
async def _turn(settings: TrackerSettings) -> AsyncIterator[asyncpg.Connection]:
    """Raises Refused where another rebuild runs."""
    guard = await asyncpg.connect(settings.dsn(), timeout=5.0)
    try:
        if not await load_queries("rebuild.sql").take_turn(guard):
            raise Refused("another rebuild of these views is running: wait for it, or stop it")
        yield guard
    finally:
        guard.terminate()


@asynccontextmanager
async def _running(filling: Filling) -> AsyncIterator[asyncio.Task[None]]:
    """A filling that has been paused for good is let go where it stands."""
    task = asyncio.create_task(filling.run(asyncio.Event()), name="filling")
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
