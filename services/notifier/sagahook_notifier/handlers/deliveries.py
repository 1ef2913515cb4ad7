"""What people do to deliveries."""

from __future__ import annotations

from datetime import datetime

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook_notifier.adapters.delivery_store import DeliveryStatus, DeliveryStore, Row, Wanted
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_notifier.handlers.endpoints import Begin, NoSuchEndpoint, Refused

log = get_logger(__name__)

MOST_REDRIVEN = 10_000
"""By one call."""


class NoSuchDelivery(Exception):
    """404."""


class Deliveries:
    """rate: deliveries a second that are sent again to one endpoint, unless somebody says otherwise."""

    def __init__(self, store: DeliveryStore, endpoints: EndpointStore, clock: Clock, rate: float) -> None:
        self._store = store
        self._endpoints = endpoints
        self._clock = clock
        self._rate = rate

    async def of_endpoint(self, endpoint_id: str, status: DeliveryStatus | None, wanted: Wanted) -> list[Row]:
        """Raises NoSuchEndpoint."""
        found = await self._store.of_endpoint(endpoint_id, status, wanted)
        if found is None:
            raise NoSuchEndpoint(endpoint_id)
        return found

    async def dead_letters(self, wanted: Wanted) -> list[Row]:
        return await self._store.dead_letters(wanted)

    async def find(self, delivery_id: str) -> tuple[Row, list[Row]] | None:
        return await self._store.find(delivery_id)

    async def resend(self, delivery_id: str, begin: Begin) -> None:
        """Raises NoSuchDelivery or Refused."""
        found = await self._store.find(delivery_id)
        if found is None:
            raise NoSuchDelivery(delivery_id)
        delivery, now = found[0], self._clock.now()
        endpoint_id, leased_until = delivery["endpoint_id"], delivery["leased_until"]
        try:
            await self._refuse_inactive(endpoint_id)
        except NoSuchEndpoint:
            raise Refused(
                f"its endpoint {endpoint_id} was removed: add it again under that id first"
            ) from None
        being_sent = Refused(f"{delivery_id} is being sent at this moment: look what comes of it")
        if leased_until is not None and leased_until >= now:
            raise being_sent
        await begin()
        if not await self._store.resend(delivery_id, now):
            raise being_sent
        log.info("delivery.resent", delivery=delivery_id, endpoint=endpoint_id)

    async def redrive(
        self,
        begin: Begin,
        *,
        endpoint_id: str | None,
        since: datetime,
        until: datetime | None,
        rate: float | None,
    ) -> tuple[int, bool]:
        """How many are sent again, and whether there are more. endpoint_id None: of every endpoint that is not switched
        off. Raises NoSuchEndpoint or Refused."""
        if endpoint_id is not None:
            await self._refuse_inactive(endpoint_id)
        await begin()
        count = await self._store.redrive(
            endpoint_id=endpoint_id,
            since=since,
            until=until,
            now=self._clock.now(),
            rate=rate or self._rate,
            most=MOST_REDRIVEN,
        )
        log.info("deliveries.redriven", endpoint=endpoint_id, since=since.isoformat(), count=count)
        return count, count == MOST_REDRIVEN

    async def _refuse_inactive(self, endpoint_id: str) -> None:
        endpoint = await self._endpoints.find(endpoint_id)
        if endpoint is None:
            raise NoSuchEndpoint(endpoint_id)
        if not endpoint.active:
            raise Refused(
                f"the endpoint {endpoint_id} is switched off, so nothing would be sent: enable it first"
            )
