"""What is released; and that the saga undoes what the chain's error handler did."""

from typing import Any

from sagahook.testing import SagaTest

released: list[Any] = []


async def promised(page: Any) -> None:
    assert released == []
    page.place({"order_id": "A2", "amount": 5_000})
    assert released == ["A2"]

    released.clear()
    world = SagaTest(page.Order)
    run = (await world.receive("shop", {"order_id": "A2", "amount": 5_000})).run
    assert (run.status, released) == ("ROLLED_BACK", ["A2"])
