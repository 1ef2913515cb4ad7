"""The sagas: a flight and a hotel at once, then transfers and perhaps an excursion, then payment, then tickets."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sagahook.saga import Retry, Saga, StepContext, child, http_request, http_step, trigger

_QUICK = Retry(max=2, initial=0.2, factor=2, cap=2)
_STUBBORN = Retry(max=12, initial=0.2, factor=2, cap=5)
"""For what undoes: giving up there leaves something behind."""


def _agency(path: str) -> Callable[[StepContext], str]:
    return lambda ctx: os.environ.get("AGENCY_URL", "http://127.0.0.1:8093") + path


def _booking(trade: str, **options: Any) -> Any:
    """Booked for the trip; cancelled, by the booking's key, where the trip is undone."""
    cancel = http_request("POST", _agency(f"/{trade}/cancel"), json={"trip_id": "{trip_id}"}, retry=_STUBBORN)
    return http_step(
        "POST",
        _agency(f"/{trade}/book"),
        json={"trip_id": "{trip_id}"},
        retry=_QUICK,
        compensate=cancel,
        **options,
    )


class Transfers(Saga):
    """From the airport to the hotel and back. A saga of its own; undone with the trip, also when it was completed."""

    taxi = _booking("taxis")
    train = _booking("trains")


class Trip(Saga):
    attributes = {"traveller": "traveller"}

    @trigger(source="trip_ordered", idempotency_key="trip_id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {
            "trip_id": event["trip_id"],
            "traveller": event["traveller"],
            "price": event["price"],
            "excursion": event.get("excursion", False),
        }

    flight = _booking("flights", after=[])
    hotel = _booking("hotels", after=[])
    transfers = child(Transfers, after=["flight", "hotel"])
    excursion = _booking("excursions", after=["hotel"], when=lambda ctx: ctx.context["excursion"])

    pay = http_step(
        "POST",
        _agency("/payments/charge"),
        json={"trip_id": "{trip_id}", "price": "{price}"},
        after=["transfers", "excursion"],
        retry=_QUICK,
        pivot=True,  # whoever has paid travels: from here on it only goes forward
    )
    tickets = http_step("POST", _agency("/tickets/print"), json={"trip_id": "{trip_id}"}, retry=_QUICK)
