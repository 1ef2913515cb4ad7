"""Agencies for flights, hotels, taxis, trains and excursions, a bank and a printer, all in one HTTP service.

`python -m sagahook_travel.agency --port 8093`. `GET /trips/{trip_id}` says what stands for a trip, and `POST /control`
makes a path fail.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

LIMIT = 2_000.0
_TRADES = {"flights", "hotels", "taxis", "trains", "excursions"}
_OPERATIONS = {f"{trade}/{verb}" for trade in _TRADES for verb in ("book", "cancel")}
_OPERATIONS |= {"payments/charge", "tickets/print"}


class Order(BaseModel):
    trip_id: str
    price: float = 0


class Control(BaseModel):
    """So many of the next requests to the path (`tickets/print`) are answered 503 before anything is done."""

    path: str
    fail: int = Field(ge=0)


@dataclass
class Agency:
    """Every request has a key: the same one again is given the same answer and does nothing. A cancellation names the
    booking's key; the booking is refused should it come later."""

    limit: float = LIMIT
    done: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failing: dict[str, int] = field(default_factory=dict)
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)

    def handle(self, operation: str, order: Order, key: str, undoes: str | None) -> dict[str, Any]:
        if key in self._answers:
            return self._answers[key]
        if key in self._cancelled:
            raise HTTPException(409, "this was cancelled before it arrived")
        if operation == "payments/charge" and order.price > self.limit:
            raise HTTPException(402, f"declined: {order.price:g} is over the card's limit of {self.limit:g}")
        if undoes is not None:
            self._cancelled.add(undoes)
        if undoes is None or undoes in self._answers:
            self.done[order.trip_id].append(operation)
        self._answers[key] = {
            "trip_id": order.trip_id,
            "operation": operation,
            "number": len(self._answers) + 1,
        }
        return self._answers[key]

    def standing(self, trip_id: str) -> list[str]:
        """What was booked for the trip and not cancelled."""
        done = self.done[trip_id]
        return [
            trade for trade in sorted(_TRADES) if done.count(f"{trade}/book") > done.count(f"{trade}/cancel")
        ]


def build_agency(agency: Agency) -> FastAPI:
    service = FastAPI(title="Agencies, a bank and a printer")

    @service.post("/control")
    async def control(wanted: Control) -> Control:
        agency.failing[wanted.path.strip("/")] = wanted.fail
        return wanted

    @service.get("/trips/{trip_id}")
    async def show(trip_id: str) -> dict[str, list[str]]:
        """done: in the order in which it was."""
        return {"standing": agency.standing(trip_id), "done": agency.done[trip_id]}

    @service.post("/{trade}/{verb}")
    async def operate(
        trade: str,
        verb: str,
        order: Order,
        idempotency_key: Annotated[str, Header()],
        x_compensates: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        operation = f"{trade}/{verb}"
        if operation not in _OPERATIONS:
            raise HTTPException(404, f"there is no {operation}")
        if agency.failing.get(operation, 0) > 0:
            agency.failing[operation] -= 1
            raise HTTPException(503, f"{operation} is out of order")
        return agency.handle(operation, order, idempotency_key, x_compensates)

    return service


def main() -> None:
    parser = argparse.ArgumentParser(description="Agencies, a bank and a printer")
    parser.add_argument("--port", type=int, default=8093)
    parser.add_argument("--limit", type=float, default=LIMIT, help="of the card: what is over it is declined")
    options = parser.parse_args()
    agency = build_agency(Agency(options.limit))
    uvicorn.run(agency, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
