"""The travel example's sagas in memory; their steps ask real agencies over HTTP."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.saga.http import close_sessions
from sagahook.testing import SagaTest
from sagahook_travel.agency import Agency, build_agency
from sagahook_travel.app import Transfers, Trip
from tests.tracker_harness import serving

TRIP = {"trip_id": "T-1", "traveller": "ada", "price": 1_200}


@pytest_asyncio.fixture
async def agency(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agency]:
    agency = Agency(limit=2_000)
    async with serving(build_agency(agency)) as url:
        monkeypatch.setenv("AGENCY_URL", url)
        yield agency
        await close_sessions()


@pytest.fixture
def world() -> SagaTest:
    return SagaTest(Trip, Transfers)


async def test_a_trip_is_booked_in_the_order_of_its_graph(world: SagaTest, agency: Agency) -> None:
    run = (await world.receive("trip_ordered", TRIP)).run
    assert (run.status, run.skipped) == ("COMPLETED", ["excursion"])
    assert sorted(agency.done["T-1"][:2]) == ["flights/book", "hotels/book"]
    assert agency.done["T-1"][2:] == ["taxis/book", "trains/book", "payments/charge", "tickets/print"]


async def test_an_excursion_is_booked_where_it_is_wanted(world: SagaTest, agency: Agency) -> None:
    await world.receive("trip_ordered", {**TRIP, "excursion": True})
    assert agency.standing("T-1") == ["excursions", "flights", "hotels", "taxis", "trains"]


async def test_a_declined_card_cancels_all_of_it_in_reverse_the_sub_saga_too(
    world: SagaTest, agency: Agency
) -> None:
    run = (await world.receive("trip_ordered", {**TRIP, "price": 9_999})).run
    assert (run.status, run.failed_step) == ("ROLLED_BACK", "pay")
    assert run.child("transfers").status == "ROLLED_BACK"
    cancelled = [each for each in agency.done["T-1"] if each.endswith("cancel")]
    assert cancelled[:2] == ["trains/cancel", "taxis/cancel"]
    assert sorted(cancelled[2:]) == ["flights/cancel", "hotels/cancel"]
    assert agency.standing("T-1") == []


async def test_a_sub_saga_that_fails_undoes_itself_and_the_trip(world: SagaTest, agency: Agency) -> None:
    agency.failing["trains/book"] = 3
    run = (await world.receive("trip_ordered", TRIP)).run
    assert (run.status, run.failed_step) == ("ROLLED_BACK", "transfers")
    assert agency.standing("T-1") == []


async def test_past_the_payment_nothing_is_undone_and_an_operator_sends_it_on(
    world: SagaTest, agency: Agency
) -> None:
    agency.failing["tickets/print"] = 3
    run = (await world.receive("trip_ordered", TRIP)).run
    assert (run.status, run.undone) == ("SUSPENDED", [])
    assert agency.standing("T-1") == ["flights", "hotels", "taxis", "trains"]
    await world.retry(run)
    assert (run.status, agency.done["T-1"].count("tickets/print")) == ("COMPLETED", 1)


async def test_a_booking_whose_answer_never_came_is_cancelled_by_its_key(
    world: SagaTest, agency: Agency
) -> None:
    world.fail("flight", TimeoutError("no answer"), times=3, after_effect=True)
    run = (await world.receive("trip_ordered", TRIP)).run
    assert run.status == "ROLLED_BACK"
    assert agency.standing("T-1") == []
    assert agency.done["T-1"].count("flights/book") == 1
