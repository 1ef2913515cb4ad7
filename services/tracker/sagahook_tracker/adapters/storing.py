"""The function of the database that stores a batch (store.sql), and its parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
from orjson import JSONEncodeError, dumps

from sagahook.runtime.batches import Batches, Unavailable
from sagahook_tracker.adapters import rows, told_rows
from sagahook_tracker.adapters.news import PAYLOAD_LIMIT, offsets_payload
from sagahook_tracker.adapters.queries import SCHEMA
from sagahook_tracker.adapters.rows import Row, text
from sagahook_tracker.domain.changes import Changes
from sagahook_tracker.domain.runs import RunKey

MOVED, KNOWN = "SH001", "SH002"
"""What it raises, as store.sql says."""

_SECONDS = 120.0
"""For thousands of records with large contexts; all else of it takes milliseconds."""


class NotJson(Exception):
    """PostgreSQL cannot be told: a number that is too large, or a time that is in no year."""


class Storing:
    """schema: where the tables are."""

    def __init__(self, schema: str) -> None:
        name = f"pg_temp.store_{schema}"
        sql = Path(__file__).with_name("store.sql").read_text()
        self._definition = sql.replace(f"{SCHEMA}.", f"{schema}.").replace("pg_temp.store", name)
        self._name = name
        self._call = ""
        self._having: set[int] = set()
        """The connections (by the server's process) that have the function."""

    async def call(self, connection: asyncpg.Connection, parameters: Mapping[str, Any]) -> asyncpg.Record:
        """In a transaction of its own. parameters: of `parameters_of`. Raises Unavailable where the role may not."""
        process = connection.get_server_pid()
        if process not in self._having:
            await self._define(connection)
            self._having.add(process)
        if not self._call:
            named = ", ".join(f"{name} => ${at}" for at, name in enumerate(parameters, start=1))
            self._call = f"SELECT * FROM {self._name}({named})"  # noqa: S608  # our own names
        try:
            return await connection.fetchrow(self._call, *parameters.values(), timeout=_SECONDS)
        except asyncpg.UndefinedFunctionError:
            # Another process by an earlier one's number, or a session that was emptied between.
            await self._define(connection)
            return await connection.fetchrow(self._call, *parameters.values(), timeout=_SECONDS)

    async def _define(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.execute(self._definition)
        except asyncpg.InsufficientPrivilegeError as refusal:
            who = await connection.fetchrow("SELECT current_user AS role, current_database() AS base")
            raise Unavailable(
                "the projector may not make a function of its session, which no other session sees "
                f"({refusal}): GRANT TEMPORARY ON DATABASE {who['base']} TO {who['role']}"
            ) from refusal


def parameters_of(
    batches: Batches,
    changes: Changes,
    begun: Collection[RunKey],
    *,
    channel: str | None,
    known_views: int | None,
) -> dict[str, Any]:
    """By their names, all of them, in one order. channel: None: nobody is told. known_views: see store.sql. Raises
    NotJson."""
    routes, runs = changes.routes.values(), changes.runs
    deliveries = changes.deliveries.values()
    return {
        "offset_rows": _json(rows.offset_rows(batches)),
        "begun_keys": _json(rows.key_rows(begun)),
        "webhook_rows": _json(map(rows.webhook_row, changes.webhooks.values())),
        "route_rows": _json(map(rows.route_row, routes)),
        "asked_rows": _json(rows.asked_rows(routes)),
        "link_rows": _json(map(rows.link_row, changes.links.values())),
        "definition_rows": _json(map(rows.definition_row, changes.definitions.values())),
        "control_rows": _json(map(rows.control_row, changes.controls.values())),
        "run_rows": _json(map(rows.run_row, runs.values())),
        "attempt_rows": _json(map(rows.attempt_row, changes.attempts.values())),
        "history_rows": _json(
            rows.history_row(entry, runs[entry.saga_id, entry.run].sequence) for entry in changes.history
        ),
        "longest": max((run.sequence for run in runs.values()), default=0),
        "delivery_rows": _json(told_rows.delivery_rows(deliveries)),
        "delivery_attempt_rows": _json(map(told_rows.delivery_attempt_row, deliveries)),
        "audit_rows": _json(map(told_rows.audit_row, changes.audit.values())),
        "rollup_rows": _json(rows.rollup_rows(changes.rollups)),
        "touched": [text(event_id) for event_id in changes.touched],
        "moved_keys": _json(rows.key_rows(changes.moved)),
        "ended_keys": _json(rows.key_rows(changes.ended)),
        "waited_for": [text(correlation_id) for correlation_id in changes.waited_for],
        "news_of_offsets": offsets_payload(batches),
        "channel": channel,
        "most_bytes": PAYLOAD_LIMIT,
        "known_views": known_views,
    }


def _json(given: Iterable[Row]) -> str | None:
    try:
        found = list(given)
        return dumps(found).decode() if found else None
    except (JSONEncodeError, OverflowError) as reason:
        raise NotJson(str(reason)) from reason
