"""Deliveries over HTTP (api.md §6), with an admin key: what became of them, and once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query

from sagahook.runtime.acts import Acts
from sagahook.runtime.http_errors import ApiError
from sagahook.runtime.keys import Calling, Guard
from sagahook_notifier.adapters.delivery_store import DeliveryStatus, Wanted
from sagahook_notifier.api import Id, Limit, Offset, acting, described, refusals, router_for
from sagahook_notifier.api_bodies import (
    Accepted,
    DeliveryBody,
    DeliverySummary,
    Recovery,
    Redrive,
    Redriven,
    Time,
    delivery,
    summary,
)
from sagahook_notifier.domain.endpoints import PLAIN
from sagahook_notifier.handlers.deliveries import Deliveries

_ONE = {404: "There is no such delivery, or no such endpoint"}
_ACT = _ONE | {409: "Not as it is now: the text says what to do first"}

EventType = Annotated[str, Query(max_length=100, pattern=PLAIN)]


def delivery_routes(deliveries: Callable[[], Deliveries], guard: Guard, acts: Acts) -> APIRouter:
    """deliveries: asked for at each request. guard: a dependency that refuses callers."""
    router = router_for(guard)
    _add_reading(router, deliveries)
    _add_acting(router, deliveries, acts)
    return router


def _add_reading(router: APIRouter, deliveries: Callable[[], Deliveries]) -> None:
    @router.get("/endpoints/{endpoint_id}/deliveries", responses=described(_ONE))
    async def get_endpoint_deliveries(
        endpoint_id: Id,
        status: DeliveryStatus | None = None,
        event_type: EventType | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> list[DeliverySummary]:
        """An endpoint's deliveries, newest first."""
        wanted = Wanted(event_type, since, until, limit, offset)
        with refusals():
            found = await deliveries().of_endpoint(endpoint_id, status, wanted)
        return [DeliverySummary(**summary(row)) for row in found]

    @router.get("/deliveries")
    async def list_dead_letters(
        event_type: EventType | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> list[DeliverySummary]:
        """The dead letters: deliveries whose attempts are used up, of all endpoints, newest first."""
        wanted = Wanted(event_type, since, until, limit, offset)
        with refusals():
            return [DeliverySummary(**summary(row)) for row in await deliveries().dead_letters(wanted)]

    @router.get("/deliveries/{delivery_id}", responses=described(_ONE))
    async def get_delivery(delivery_id: Id) -> DeliveryBody:
        """One delivery with its payload and its attempts, the first one first."""
        with refusals():
            found = await deliveries().find(delivery_id)
        if found is None:
            raise ApiError(404, f"There is no delivery {delivery_id}")
        return delivery(*found)


def _add_acting(router: APIRouter, deliveries: Callable[[], Deliveries], acts: Acts) -> None:
    @router.post("/deliveries/{delivery_id}:resend", status_code=202, responses=described(_ACT))
    async def resend_delivery(delivery_id: Id, caller: Calling) -> Accepted:
        """Sends it once more, under its id, by its policy from the beginning."""
        async with acting(acts, caller, delivery_id) as begin:
            await deliveries().resend(delivery_id, begin)
        return Accepted(delivery_id=delivery_id)

    @router.post("/endpoints/{endpoint_id}:recover", status_code=202, responses=described(_ACT))
    async def recover_endpoint(endpoint_id: Id, body: Recovery, caller: Calling) -> Redriven:
        """Sends again what failed for good since then, the oldest first, so many a second."""
        async with acting(acts, caller, endpoint_id) as begin:
            count, more = await deliveries().redrive(
                begin, endpoint_id=endpoint_id, since=body.since, until=body.until, rate=body.rate
            )
        return Redriven(count=count, more=more)

    @router.post("/deliveries:redrive", status_code=202, responses=described(_ACT))
    async def redrive_deliveries(body: Redrive, caller: Calling) -> Redriven:
        """The same for every endpoint that is not switched off, or for one."""
        async with acting(acts, caller, body.endpoint_id or "every endpoint") as begin:
            count, more = await deliveries().redrive(
                begin, endpoint_id=body.endpoint_id, since=body.since, until=body.until, rate=body.rate
            )
        return Redriven(count=count, more=more)
