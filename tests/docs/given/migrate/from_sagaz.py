"""What is released; and that the saga before and after undo the same."""

import logging
from typing import Any

import pytest

from sagahook.testing import SagaTest

released: list[Any] = []

logging.getLogger("sagaz").setLevel(logging.CRITICAL)


async def promised(page: Any) -> None:
    released.clear()
    with pytest.raises(ValueError, match="declined"):
        await page.OrderSaga().run({"order_id": "A2", "amount": 5_000})
    assert released == ["r-A2"]

    released.clear()
    world = SagaTest(page.Order)
    run = (await world.receive("shop", {"order_id": "A2", "amount": 5_000})).run
    assert (run.status, released) == ("ROLLED_BACK", ["r-A2"])
