"""Deliveries under way, in PostgreSQL. Every call is one transaction, and raises Unavailable while the database is
away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiosql
import asyncpg
from orjson import dumps

from sagahook.runtime.database import reaching_database
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.domain.deliveries import Claimed, Finished, Target, announcements
from sagahook_notifier.domain.endpoints import DISABLED_TYPE
from sagahook_notifier.domain.health import Health
from sagahook_notifier.domain.operational import Disabled, disabled_deliveries
from sagahook_notifier.domain.policies import Exhausted, RetryAt
from sagahook_notifier.domain.verdicts import Verdicts

queries: Any = aiosql.from_path(Path(__file__).with_name("dispatch.sql"), "asyncpg")

Judge = Callable[[Mapping[str, Health], Sequence[Finished]], Verdicts]
"""What attempts mean for their endpoints, whose health as of now is the first argument."""


class DispatchStore:
    def __init__(self, pool: asyncpg.Pool, targets: Targets) -> None:
        self._pool = pool
        self._targets = targets

    async def waiting(self) -> list[str]:
        """The endpoints that something waits for."""
        with reaching_database():
            return [row["endpoint_id"] async for row in queries.waiting(self._pool)]

    async def next_due(self, endpoints: Collection[str]) -> dict[str, datetime]:
        """When there is something to claim of each next; those with nothing are left out."""
        with reaching_database():
            rows = queries.next_due(self._pool, endpoints=list(endpoints))
            return {row["id"]: row["at"] async for row in rows}

    async def claim(
        self, *, token: UUID, now: datetime, lease: timedelta, rooms: Mapping[str, int]
    ) -> list[Claimed]:
        """Due deliveries, now ours until `lease` is over. rooms: how many at most, by endpoint."""
        lease_ends = now + lease
        with reaching_database():
            async with self._pool.acquire() as connection:
                await queries.hold_to_rates(connection, endpoints=list(rooms))
                rows = [
                    row
                    async for row in queries.claim(
                        connection,
                        token=token,
                        now=now,
                        lease_ends=lease_ends,
                        endpoints=list(rooms),
                        rooms=list(rooms.values()),
                    )
                ]
                targets = await self._targets.of(
                    connection, {row["endpoint_id"]: row["version"] for row in rows}
                )
        return [_claimed(row, targets[row["endpoint_id"]], token, lease_ends) for row in rows]

    async def record(
        self, finished: Sequence[Finished], judge: Judge, at: datetime
    ) -> tuple[list[Finished], list[Disabled]]:
        """Keep what became of claimed deliveries, and what it means for their endpoints. Returns those whose lease was
        still ours, and the endpoints that are disabled because of them; of the others nothing is kept: another
        dispatcher has them."""
        telling = sorted({each.claimed.target.endpoint_id for each in finished if each.tells_of_health})
        with reaching_database():
            async with self._pool.acquire() as connection:
                if not telling:
                    return await _record(connection, finished, at), []
                async with connection.transaction():
                    kept = await _record(connection, finished, at)
                    return kept, await _judge(connection, kept, telling, judge, at)

    async def release(self, claimed: Iterable[Claimed], now: datetime) -> None:
        held = list(claimed)
        probes = [each.target.endpoint_id for each in held if each.probe]
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await queries.release(
                    connection,
                    ids=[each.delivery_id for each in held],
                    tokens=[each.lease_token for each in held],
                )
                await queries.give_back_probes(connection, endpoints=probes, now=now)


async def _record(
    connection: asyncpg.Connection, finished: Sequence[Finished], at: datetime
) -> list[Finished]:
    told = [
        (place, envelope, event)
        for place, each in enumerate(finished, 1)
        for envelope, event in announcements(each)
    ]
    rows = queries.record_attempts(
        connection,
        ids=[each.claimed.delivery_id for each in finished],
        tokens=[each.claimed.lease_token for each in finished],
        statuses=[_status(each) for each in finished],
        claimable=[_claimable_at(each) for each in finished],
        attempts=[each.claimed.attempt for each in finished],
        started=[each.exchange.started_at for each in finished],
        durations=[each.exchange.duration_ms for each in finished],
        request_headers=[_json(each.exchange.request_headers) for each in finished],
        status_codes=[each.exchange.status_code for each in finished],
        response_headers=[_json(each.exchange.response_headers) for each in finished],
        response_excerpts=[each.exchange.response_excerpt for each in finished],
        phases=[_json(each.exchange.phases) for each in finished],
        errors=[each.error for each in finished],
        now=at,
        message_places=[place for place, _, _ in told],
        message_headers=[
            dumps([(name, value.decode()) for name, value in envelope.to_headers()]).decode()
            for _, envelope, _ in told
        ],
        message_payloads=[event.to_json().decode() for _, _, event in told],
    )
    return [finished[row["place"] - 1] async for row in rows]


async def _judge(
    connection: asyncpg.Connection,
    finished: Sequence[Finished],
    endpoints: Sequence[str],
    judge: Judge,
    at: datetime,
) -> list[Disabled]:
    known = {
        row["endpoint_id"]: Health(
            failures=row["failures"],
            openings=row["openings"],
            open_until=row["open_until"],
            failing_since=row["failing_since"],
            error=row["error"],
        )
        async for row in queries.health(connection, endpoints=endpoints)
    }
    verdicts = judge(known, finished)
    health = sorted(verdicts.health.items())
    await queries.put_health(
        connection,
        endpoints=[endpoint for endpoint, _ in health],
        failures=[each.failures for _, each in health],
        openings=[each.openings for _, each in health],
        open_until=[each.open_until for _, each in health],
        failing_since=[each.failing_since for _, each in health],
        errors=[each.error for _, each in health],
    )
    return await _disable(connection, verdicts, at) if verdicts.disabled else []


async def _disable(connection: asyncpg.Connection, verdicts: Verdicts, at: datetime) -> list[Disabled]:
    """And tell those who asked."""
    disabled = [
        Disabled(
            endpoint_id=row["id"],
            url=row["url"],
            reason=row["reason"],
            failing_since=verdicts.health[row["id"]].failing_since,
            at=at,
        )
        async for row in queries.disable(
            connection,
            endpoints=list(verdicts.disabled),
            reasons=list(verdicts.disabled.values()),
            now=at,
        )
    ]
    listeners = [
        (row["id"], row["payload_format"])
        async for row in queries.listeners(connection, event_type=DISABLED_TYPE)
    ]
    told = disabled_deliveries(disabled, listeners)
    await queries.add_operational(
        connection,
        ids=[each.delivery_id for each in told],
        endpoint_ids=[each.endpoint_id for each in told],
        event_ids=[each.event_id for each in told],
        event_type=DISABLED_TYPE,
        bodies=[each.body for each in told],
        content_types=[each.content_type for each in told],
        now=at,
    )
    return disabled


def _claimed(row: Mapping[str, Any], target: Target, token: UUID, lease_ends: datetime) -> Claimed:
    return Claimed(
        delivery_id=row["id"],
        lease_token=token,
        leased_until=lease_ends,
        target=target,
        event_id=row["event_id"],
        event_type=row["event_type"],
        saga_id=row["saga_id"],
        run=row["run"],
        correlation_id=row["correlation_id"],
        body=row["body"],
        content_type=row["content_type"],
        attempt=row["attempts"] + 1,
        attempts_before=row["attempts_before"],
        probe=row["probe"],
        ailing=row["ailing"],
        traceparent=row["traceparent"] or "",
    )


def _json(value: Mapping[str, Any]) -> str:
    return dumps(value).decode()


def _status(finished: Finished) -> str:
    match finished.outcome:
        case RetryAt():
            return "pending"
        case Exhausted():
            return "exhausted"
        case _:
            return "succeeded"


def _claimable_at(finished: Finished) -> datetime:
    return finished.outcome.at if isinstance(finished.outcome, RetryAt) else finished.at
