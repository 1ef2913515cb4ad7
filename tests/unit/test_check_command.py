"""`sagahook check`: what an author is told of a module."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sagahook.cli.main import app

Check = Callable[[str], Result]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Checks a module with that text; what it imports is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def run(text: str) -> Result:
        (tmp_path / "my_checked_app.py").write_text(f"from sagahook.saga import *\n{text}")
        return CliRunner().invoke(app, ["check", "my_checked_app.py"])

    yield run
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_saga_is_shown_with_its_triggers_and_its_steps_level_by_level(check: Check) -> None:
    told = check("""
class Shipment(Saga): ...

class Order(Saga):
    @trigger(source="shop", event="order.created", idempotency_key=("shop", "id"), max_concurrent=3,
             rate_limit="100/min", concurrency_key="shop")
    def accept(self, event): ...

    @trigger(source="desk", idempotency_key=lambda event: event["id"])
    def by_hand(self, event): ...

    @step
    async def reserve(self, ctx): ...

    @compensate("reserve")
    async def release(self, ctx, result): ...

    @foreach(items=lambda ctx: [1], concurrency=4)
    @step(after=["reserve"])
    async def charge(self, ctx): ...

    approval = await_signal("approved", timeout=3600, after=["reserve"])
    cool_off = sleep(seconds=5, after=["charge", "approval"])
    later = sleep(until=lambda ctx: 5)
    shipment = child("shipment")

    @step(pivot=True)
    async def tell(self, ctx): ...
""")
    assert told.exit_code == 0
    first, *_, last = told.stdout.split("\n\n")
    assert first.splitlines()[1:] == ["  no trigger: only a parent starts it", "  no steps"]
    head, *lines = last.splitlines()
    assert head.startswith("order@1  ")
    assert lines == [
        "  trigger shop order.created, one saga for each shop + id, at most 3 at once for each shop, "
        "at most 100 starts in 60 s for each shop",
        "  trigger desk, one saga for each value of its function",
        "  1. reserve (undoable)",
        "  2. charge (for each item, 4 at once) | approval (signal approved for 3600 s)",
        "  3. cool_off (sleep 5 s)",
        "  4. later (sleep until its function says)",
        "  5. shipment (saga shipment, undoable)",
        "  6. tell (pivot)",
    ]


def test_everything_that_is_wrong_in_a_module_is_told_a_line_each(check: Check) -> None:
    told = check(
        """
class Order(Saga):
    @trigger(source="a b")
    def accept(self, event): ...

    @step(timeout=0)
    async def charge(self, ctx): ...

charge = 7

class Refund(Saga):
    @step(after=["charge"])
    async def pay_back(self, ctx): ...

    @compensate(charge)
    async def undo(self, ctx, result): ...
"""
    )
    assert told.exit_code == 1
    assert [line.partition(", ")[0] for line in told.stderr.splitlines()] == [
        "sagahook: the trigger of 'a b': source: String should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'",
        "sagahook: Order: the step 'charge': timeout: Input should be greater than 0",
        'sagahook: a compensation must say which step it undoes: @compensate("charge")',
        "sagahook: Refund: the step 'pay_back' comes after 'charge'",
    ]


def test_what_is_wrong_between_sagas_is_told_when_each_is_right_by_itself(check: Check) -> None:
    told = check('class Order(Saga):\n    next = child("order")\n    other = child("nobody")\n')
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 2


def test_a_module_that_cannot_be_imported_is_told_with_where_it_failed(check: Check) -> None:
    told = check("1 / 0\n")
    assert told.exit_code == 1
    assert "importing my_checked_app.py fails" in told.stderr
    assert "ZeroDivisionError" in told.stderr


def test_a_module_without_sagas_or_that_is_not_there_is_told(check: Check) -> None:
    assert "holds no saga" in check("").stderr
    assert "there is no file nothing.py" in CliRunner().invoke(app, ["check", "nothing.py"]).stderr
