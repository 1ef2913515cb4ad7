"""Tests of sagas without Kafka, on a clock of their own: the engine is the real one, and so are your actions.

async def test_a_declined_card_is_undone():
    world = SagaTest(Order)
    world.fail("charge", PermanentError("declined"))
    run = await world.start(Order, {"order_id": 7})
    assert run.status == "ROLLED_BACK"
    assert run.undone == ["reserve"]

See docs/reference/testing.md.
"""

from sagahook.testing.golden import assert_transcript
from sagahook.testing.histories import History, HistoryError, read_histories, write_history
from sagahook.testing.log import Happened
from sagahook.testing.replaying import Divergence, divergence
from sagahook.testing.run import Run
from sagahook.testing.transcript import transcript
from sagahook.testing.world import Received, Refused, SagaTest

__all__ = [
    "Divergence",
    "Happened",
    "History",
    "HistoryError",
    "Received",
    "Refused",
    "Run",
    "SagaTest",
    "assert_transcript",
    "divergence",
    "read_histories",
    "transcript",
    "write_history",
]
