"""The approvals example's saga in memory, on a clock of its own; its steps ask a real office over HTTP."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.saga.http import close_sessions
from sagahook.testing import SagaTest
from sagahook_approvals.app import expense
from sagahook_approvals.office import Books, build_office
from tests.tracker_harness import serving

CLAIM = {"expense_id": "E-1", "employee": "ada", "manager": "grace", "amount": 120}
YES = {"approved": True, "by": "grace", "reason": ""}
NO = {"approved": False, "by": "grace", "reason": "no receipt"}


@pytest_asyncio.fixture
async def books(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    books = Books(budget=1_000)
    async with serving(build_office(books)) as url:
        monkeypatch.setenv("OFFICE_URL", url)
        yield books
        await close_sessions()


@pytest.fixture
def world() -> SagaTest:
    return SagaTest(expense)


async def test_what_the_manager_approves_is_paid(world: SagaTest, books: Books) -> None:
    run = (await world.receive("expense_submitted", CLAIM)).run
    assert (run.status, run.waits_for, books.held) == ("EXECUTING", ["decided"], {"E-1": 120})
    await world.advance(days=2)
    await world.signal(run, "decided", YES)
    assert (run.status, run.result) == ("COMPLETED", {"paid": 120})
    assert (books.paid, books.held, books.left) == ({"E-1": 120}, {}, 880)


async def test_what_the_manager_rejects_is_undone_in_reverse(world: SagaTest, books: Books) -> None:
    run = (await world.receive("expense_submitted", CLAIM)).run
    await world.signal(run, "decided", NO)
    assert (run.status, run.undone) == ("ROLLED_BACK", ["ask_manager", "hold_budget"])
    assert "grace rejected it: no receipt" in str(run.error)
    assert (books.inbox, books.left) == ({}, 1_000)


@pytest.mark.parametrize(("claim", "hours"), [(CLAIM, 72), ({**CLAIM, "answer_within": 3_600}, 1)])
async def test_after_the_time_to_answer_it_is_given_up(
    world: SagaTest, books: Books, claim: dict[str, object], hours: int
) -> None:
    run = (await world.receive("expense_submitted", claim)).run
    await world.advance(hours=hours - 0.1)
    assert (run.status, books.left) == ("EXECUTING", 880)
    await world.advance(hours=0.2)
    assert (run.status, books.inbox, books.left) == ("ROLLED_BACK", {}, 1_000)


async def test_a_crash_while_it_waits_asks_nobody_twice(world: SagaTest, books: Books) -> None:
    run = (await world.receive("expense_submitted", CLAIM)).run
    await world.crash()
    await world.signal(run, "decided", YES)
    assert run.status == "COMPLETED"
    assert (run.attempts("ask_manager"), books.paid) == (1, {"E-1": 120})


async def test_what_is_over_the_budget_asks_nobody(world: SagaTest, books: Books) -> None:
    run = (await world.receive("expense_submitted", {**CLAIM, "amount": 5_000})).run
    assert (run.status, run.done) == ("ROLLED_BACK", [])
    assert "more than the 1000 that are left" in str(run.error)
    assert books.inbox == {}
