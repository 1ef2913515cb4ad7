"""What people may ask of the notifier over HTTP (api.md §6), with an admin key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from orjson import loads

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.http_errors import ApiError
from sagahook.runtime.keys import KeyHashes, requires
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_schemas.envelope import rfc3339

DeliveryStatus = Literal["pending", "succeeded", "exhausted"]


def routes(hashes: KeyHashes) -> APIRouter:
    """Of an app that holds an EndpointStore in its state."""
    router = APIRouter(tags=["outbound webhooks"], dependencies=[Depends(requires(hashes, "admin"))])

    @router.get("/api/v1/deliveries/{delivery_id}")
    async def get_delivery(request: Request, delivery_id: str) -> dict[str, Any]:
        """One delivery with its payload and its attempts, the first one first."""
        with _database_errors():
            found = await _store(request).delivery(delivery_id)
        if found is None:
            raise ApiError(404, f"There is no delivery {delivery_id}")
        row, attempts = found
        return _delivery(row) | {
            "payload": loads(row["body"]),
            "attempts": [_attempt(attempt) for attempt in attempts],
        }

    @router.get("/api/v1/endpoints/{endpoint_id}/deliveries")
    async def get_endpoint_deliveries(
        request: Request,
        endpoint_id: str,
        status: DeliveryStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> list[dict[str, Any]]:
        """An endpoint's deliveries, newest first."""
        with _database_errors():
            rows = await _store(request).endpoint_deliveries(
                endpoint_id, status=status, most=limit, skipped=offset
            )
        if rows is None:
            raise ApiError(404, f"There is no endpoint {endpoint_id}")
        return [_delivery(row) for row in rows]

    return router


def _store(request: Request) -> EndpointStore:
    store: EndpointStore = request.app.state.store
    return store


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except Unavailable as away:
        raise ApiError(503, "The database is away: try again in a moment", retry_after=2) from away


def _delivery(row: Mapping[str, Any]) -> dict[str, Any]:
    waits = row["status"] == "pending" and not row["leased"]
    return {
        "id": row["id"],
        "endpoint_id": row["endpoint_id"],
        "event_id": row["event_id"],
        "event_type": row["event_type"],
        "task_id": row["saga_id"],
        "run": row["run"],
        "correlation_id": row["correlation_id"],
        "status": row["status"],
        "attempt_count": row["attempts"],
        "next_attempt_at": rfc3339(row["claimable_at"]) if waits else None,
        "created_at": rfc3339(row["created_at"]),
        "finished_at": _time(row["finished_at"]),
    }


def _attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt": row["attempt"],
        "started_at": rfc3339(row["started_at"]),
        "duration_ms": round(row["duration_ms"], 1),
        "status_code": row["status_code"],
        "error": row["error"],
        "request_headers": row["request_headers"],
        "response_excerpt": row["response_excerpt"],
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
