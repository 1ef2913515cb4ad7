"""The orders example's saga, in memory: its steps ask the example's own ledger, with no shop between them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagahook.saga import PermanentError, StepContext
from sagahook.testing import SagaTest
from sagahook_orders.app import Order
from sagahook_orders.ledger import Ledger, Request

OPERATIONS = {
    "reserve_inventory": ("inventory/reserve", "inventory/release"),
    "charge_payment": ("payments/charge", "payments/refund"),
    "ship": ("shipping/ship", "shipping/cancel"),
}
ORDER = {"order_id": "o-1", "amount": 50, "items": ["book"]}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "shop.db", limit=1_000)


@pytest.fixture
def world(ledger: Ledger) -> SagaTest:
    world = SagaTest(Order)
    for step, (action, undo) in OPERATIONS.items():
        world.replace(step, asking(ledger, action))
        world.replace(step, asking(ledger, undo), phase="compensation")
    return world


def asking(ledger: Ledger, operation: str) -> Callable[..., Any]:
    def ask(ctx: StepContext, *result: Any) -> Any:
        order: Any = ctx.context
        undoes = ctx.action_key if ctx.phase == "compensation" else None
        key = ctx.idempotency_key
        answer = ledger.handle(Request(operation, key, order["order_id"], order["amount"], undoes))
        if answer.status != 200:
            raise PermanentError(answer.body["error"])
        return answer.body

    return ask


def applied(ledger: Ledger) -> list[tuple[str, int]]:
    return [(each["operation"], each["applied"]) for each in ledger.entries()]


async def test_an_order_is_reserved_charged_and_shipped(world: SagaTest, ledger: Ledger) -> None:
    run = (await world.receive("order_created", ORDER)).run
    assert (run.status, run.done) == ("COMPLETED", ["reserve_inventory", "charge_payment", "ship"])
    assert applied(ledger) == [("inventory/reserve", 1), ("payments/charge", 1), ("shipping/ship", 1)]


async def test_a_charge_over_the_limit_releases_what_was_reserved(world: SagaTest, ledger: Ledger) -> None:
    run = (await world.receive("order_created", {**ORDER, "amount": 5_000})).run
    assert (run.status, run.undone) == ("ROLLED_BACK", ["reserve_inventory"])
    assert run.error == "PermanentError: declined: 5000 is over the limit of 1000"
    assert applied(ledger) == [("inventory/reserve", 1), ("payments/charge", 0), ("inventory/release", 1)]


async def test_a_crash_after_the_charge_charges_once(world: SagaTest, ledger: Ledger) -> None:
    world.crash_during("charge_payment", after_effect=True)
    run = (await world.receive("order_created", ORDER)).run
    assert (run.status, run.attempts("charge_payment")) == ("COMPLETED", 2)
    assert ("payments/charge", 1) in applied(ledger)


async def test_a_shipment_that_never_answers_is_cancelled_with_all_before_it(
    world: SagaTest, ledger: Ledger
) -> None:
    world.hang("ship", after_effect=True)
    run = (await world.receive("order_created", ORDER)).run
    assert (run.status, run.undone) == ("ROLLED_BACK", ["ship", "charge_payment", "reserve_inventory"])
    assert ("shipping/cancel", 1) in applied(ledger)


async def test_the_same_order_twice_is_one_saga(world: SagaTest) -> None:
    first, again = await world.receive("order_created", ORDER), await world.receive("order_created", ORDER)
    assert first.run.saga_id == again.run.saga_id
    assert len(world.runs) == 1
