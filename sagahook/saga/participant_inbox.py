"""What a participant remembers of the steps that it was asked for, so that each is done once however often it is asked.

One row for each step and phase: what was answered last. It is written in the transaction in which the handler works,
so that the effect and the memory of it are there together or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

from sagahook_schemas.participants import AskedPhase, ParticipantReplied

Replies = Mapping[AskedPhase, ParticipantReplied]


class InboxTransaction(Protocol):
    """One step is looked at by nobody else as long as this is open. What raises leaves no trace."""

    connection: Any
    """What a handler's own writes go through to share the transaction; None where the inbox has none."""

    async def replies(self) -> Replies:
        """What was answered last, for each phase that was ever asked for."""
        ...

    def attempt(self) -> AbstractAsyncContextManager[None]:
        """What the handler writes within is undone where it raises; the transaction goes on."""
        ...

    async def remember(self, reply: ParticipantReplied, at: datetime) -> None:
        """In place of the phase's last one."""
        ...


class Inbox(Protocol):
    """Shared by all replicas of one participant, and by no other participant."""

    def open(self, action_key: str) -> AbstractAsyncContextManager[InboxTransaction]:
        """A transaction about one step, committed at the end. It waits while another one has the same step."""
        ...

    async def forget(self, before: datetime) -> int:
        """Forget what was remembered before then; how many."""
        ...


class MemoryInbox:
    """Remembers as long as the process lives: for tests, and for effects that the handlers make idempotent
    themselves."""

    def __init__(self) -> None:
        self._remembered: dict[str, dict[AskedPhase, tuple[ParticipantReplied, datetime]]] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def open(self, action_key: str) -> AsyncIterator[InboxTransaction]:
        async with self._only_one(action_key):
            known = self._remembered.get(action_key, {})
            transaction = _MemoryTransaction({phase: reply for phase, (reply, _) in known.items()})
            yield transaction
            for reply, at in transaction.written:
                self._remembered.setdefault(action_key, {})[reply.phase] = (reply, at)

    async def forget(self, before: datetime) -> int:
        old = [
            (key, phase)
            for key, known in self._remembered.items()
            for phase, (_, at) in known.items()
            if at < before
        ]
        for key, phase in old:
            del self._remembered[key][phase]
            if not self._remembered[key]:
                del self._remembered[key]
        return len(old)

    @asynccontextmanager
    async def _only_one(self, action_key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(action_key, (asyncio.Lock(), 0))
        self._locks[action_key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(action_key)
            if users > 1:
                self._locks[action_key] = (lock, users - 1)


class _MemoryTransaction:
    connection: Any = None

    def __init__(self, found: Replies) -> None:
        self._found = dict(found)
        self.written: list[tuple[ParticipantReplied, datetime]] = []

    async def replies(self) -> Replies:
        return self._found

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        yield

    async def remember(self, reply: ParticipantReplied, at: datetime) -> None:
        self._found[reply.phase] = reply
        self.written.append((reply, at))


_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    action_key text NOT NULL,
    phase text NOT NULL,
    reply text NOT NULL,
    handled_at timestamptz NOT NULL,
    PRIMARY KEY (action_key, phase)
);
CREATE INDEX IF NOT EXISTS {index} ON {table} (handled_at)
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_FIND = "SELECT reply FROM {table} WHERE action_key = $1"
_REMEMBER = """
INSERT INTO {table} (action_key, phase, reply, handled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (action_key, phase) DO UPDATE SET reply = excluded.reply, handled_at = excluded.handled_at
"""
_FORGET = "WITH gone AS (DELETE FROM {table} WHERE handled_at < $1 RETURNING 1) SELECT count(*) FROM gone"


class PostgresInbox:
    """In the participant's own PostgreSQL database, in a table of its own.

    pool: an asyncpg pool, with as many connections as steps are handled at once. table: its name, [a-z0-9_].
    """

    def __init__(self, pool: Any, table: str = "sagahook_inbox") -> None:
        if not (table.isascii() and table.isidentifier() and table == table.lower()):
            raise ValueError(f"the table's name must be lower-case letters, digits and _, not {table!r}")
        self._pool = pool
        self._table = table

    async def create(self) -> None:
        """Make the table where it is missing: at start-up, or in a migration of the participant's own."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Two replicas that start at once would else both find it missing.
            await connection.execute(_LOCK, self._table)
            await connection.execute(_CREATE.format(table=self._table, index=f"{self._table}_handled_at"))

    @asynccontextmanager
    async def open(self, action_key: str) -> AsyncIterator[InboxTransaction]:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK, f"{self._table}/{action_key}")
            yield _PostgresTransaction(connection, self._table, action_key)

    async def forget(self, before: datetime) -> int:
        gone: int = await self._pool.fetchval(_FORGET.format(table=self._table), before)
        return gone


class _PostgresTransaction:
    def __init__(self, connection: Any, table: str, action_key: str) -> None:
        self.connection: Any = connection
        self._table = table
        self._action_key = action_key

    async def replies(self) -> Replies:
        rows = await self.connection.fetch(_FIND.format(table=self._table), self._action_key)
        found = [ParticipantReplied.model_validate_json(row["reply"]) for row in rows]
        return {reply.phase: reply for reply in found}

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        async with self.connection.transaction():
            yield

    async def remember(self, reply: ParticipantReplied, at: datetime) -> None:
        await self.connection.execute(
            _REMEMBER.format(table=self._table), self._action_key, reply.phase, reply.to_json().decode(), at
        )
