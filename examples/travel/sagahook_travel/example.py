"""What `sagahook examples run travel` plays."""

from __future__ import annotations

import time
from typing import Any

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is, webhook_sent

_PRINTER = "/tickets/print"


def _stage(place: Place) -> Stage:
    agency = Server(
        "agency", "sagahook_travel.agency", ("--port", str(place.port("agency"))), ready="/trips/none"
    )
    return Stage("sagahook_travel.app", (agency,), {"AGENCY_URL": place.url("agency")})


async def trip_is_booked(world: World, narrator: Narrator) -> None:
    posted = await _ordered(world, narrator, "T-1", price=1_200, excursion=True)
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "completed")
    trip = await _trip(world, posted)
    everything = ["excursions", "flights", "hotels", "taxis", "trains"]
    expect(trip["standing"] == everything, f"all is booked, not {trip['standing']}")
    expect(
        trip["done"][-2:] == ["payments/charge", "tickets/print"],
        "it was paid last, and then the tickets came",
    )
    narrator.seen(f"booked once each: {', '.join(everything)}; then paid, then the tickets printed")


async def card_is_declined(world: World, narrator: Narrator) -> None:
    posted = await _ordered(world, narrator, "T-2", price=9_999)
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "failed", error="declined")
    trip = await _trip(world, posted)
    expect(trip["standing"] == [], f"nothing stays booked, not {trip['standing']}")
    undone = [operation for operation in trip["done"] if operation.endswith("/cancel")]
    expect(
        undone[:2] == ["trains/cancel", "taxis/cancel"], f"the transfers go first, in reverse, not {undone}"
    )
    expect(set(undone[2:]) == {"flights/cancel", "hotels/cancel"}, f"then flight and hotel, not {undone[2:]}")
    narrator.seen(f"cancelled in reverse, the sub-saga's bookings first: {', '.join(undone)}")


async def printer_is_out_of_order(world: World, narrator: Narrator) -> None:
    await world.send("POST", world.url("agency") + "/control", {"path": _PRINTER, "fail": 3})
    posted = await _ordered(world, narrator, "T-3", price=800)
    saga_id = (await follow(world, narrator, posted))[0].envelope.saga_id
    saga = await world.until(f"/webhooks/status/{saga_id}", lambda saga: saga["state"] == "SUSPENDED")
    expect(saga["cause"] == "forward", f"it waits past its pivot, not because of {saga['cause']}")
    trip = await _trip(world, posted)
    expect("payments/charge" in trip["done"] and trip["standing"], "it is paid, and nothing is cancelled")
    narrator.seen("paid, all bookings stand; the saga is SUSPENDED, cause forward, and nothing is undone")
    retry = {"actor": "ada", "reason": "the printer has paper again"}
    await world.send("POST", f"/api/v1/sagas/{saga_id}:retry", retry, role="operator")
    narrator.happened(
        time.time() - posted.at, "plain", "the printer has paper again, and an operator says: retry"
    )
    saga = await world.until(f"/webhooks/status/{saga_id}", lambda saga: saga["state"] == "COMPLETED")
    narrator.happened(time.time() - posted.at, "good", "the saga is completed")
    await status_is(world, narrator, posted, "completed")
    expect((await _trip(world, posted))["done"].count("tickets/print") == 1, "the tickets were printed once")
    narrator.seen("the tickets were printed once")


async def _ordered(world: World, narrator: Narrator, trip_id: str, price: int, **more: bool) -> Posted:
    order = {"trip_id": trip_id, "traveller": "ada", "price": price, **more}
    what = f"trip {trip_id} for {price}" + (", with an excursion" if more else "")
    return await webhook_sent(world, narrator, "trip_ordered", order, what)


async def _trip(world: World, posted: Posted) -> dict[str, Any]:
    trip: dict[str, Any] = await world.get(f"{world.url('agency')}/trips/{posted.body['trip_id']}")
    return trip


EXAMPLE = Example(
    "A trip is a flight and a hotel at once, transfers (a saga of their own), payment, and past that only forward.",
    _stage,
    scenes=(
        Scene("A trip is booked, side by side where it can be", trip_is_booked),
        Scene("The card is declined: everything is cancelled in reverse", card_is_declined),
        Scene("Paid, and the printer is out of order: it goes forward, not back", printer_is_out_of_order),
    ),
    poke="""\
curl -X POST {api}/webhooks/trip_ordered -H 'Content-Type: application/json' \\
     -d '{{"trip_id": "T-9", "traveller": "you", "price": 500, "excursion": true}}'
curl {agency}/trips/T-9
curl -X POST {agency}/control -H 'Content-Type: application/json' -d '{{"path": "hotels/book", "fail": 9}}'
sagahook sagas list --url {api} --key {reader}
curl {api}/definitions/trip/diagram""",
)
