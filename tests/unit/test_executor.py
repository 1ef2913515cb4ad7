"""Whatever an action does is an outcome, and every outcome finds the owner of its saga."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from sagahook.saga import PermanentError
from sagahook_runner.adapters import attempt
from sagahook_runner.adapters.attempt import AttemptKey, Job, Outcome, is_async
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.pulse import Pulse
from sagahook_runner.domain.commands import AttemptFailed, AttemptLost, AttemptSucceeded
from sagahook_schemas.codec import decode_data
from sagahook_schemas.definitions import Kind
from sagahook_schemas.steps import StepCompleted
from sagahook_schemas.topics import CONTEXT_LIMIT

Call = Callable[[], Any]


def job(
    call: Call,
    saga_id: str = "saga",
    *,
    timeout: float = 30,
    partition: int = 0,
    kind: Kind = "network",
    heartbeat: float | None = None,
    pulse: Pulse | None = None,
) -> Job:
    return Job(
        key=AttemptKey(saga_id, 1, "charge", "action", 1),
        partition=partition,
        call=call,
        is_async=is_async(call),
        timeout=timeout,
        kind=kind,
        heartbeat=heartbeat,
        pulse=pulse or Pulse(asyncio.get_running_loop()),
    )


class Bench:
    """An executor of two places, and the owner of partition 0 beside it."""

    def __init__(self) -> None:
        self.forwarded: list[Outcome] = []
        self.executor = Executor(max_running=2, threads=2, forward=self._forward, drain=0.05)
        self.release = threading.Event()
        self._news = asyncio.Event()
        self.attach()

    def attach(self) -> None:
        self.executor.attach(0, self._news.set)

    def _forward(self, outcome: Outcome) -> None:
        self.forwarded.append(outcome)
        self._news.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                self._news.clear()
                await asyncio.sleep(0)
                if not reached():
                    await self._news.wait()

    async def outcome(self, given: Job) -> Any:
        self.executor.submit(given)
        await self.until(lambda: self.executor.has_outcomes(0))
        collected = self.executor.collect(0)
        assert collected is not None
        assert collected.saga_id == given.key.saga_id
        return collected.command

    async def failure(self, call: Call, **options: Any) -> AttemptFailed:
        failed = await self.outcome(job(call, **options))
        assert isinstance(failed, AttemptFailed)
        assert (failed.run, failed.step, failed.phase, failed.attempt) == (1, "charge", "action", 1)
        return failed


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.release.set()
    await bench.executor.drain()


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def action() -> None:
        raise error

    return action


async def forever() -> None:
    await asyncio.Event().wait()


# -- what an action does ----------------------------------------------------------------------------------------


async def test_what_an_action_returns_is_its_result(bench: Bench) -> None:
    async def action() -> dict[str, object]:
        return {"paid": 7, "by": None}

    succeeded = await bench.outcome(job(action))
    assert isinstance(succeeded, AttemptSucceeded)
    assert succeeded.result == {"paid": 7, "by": None}
    assert succeeded.duration_ms >= 0


async def test_an_action_that_is_not_async_runs_in_a_thread_beside_the_others(bench: Bench) -> None:
    both = threading.Barrier(2, timeout=20)

    def action() -> str:
        both.wait()  # passes only when the other one runs at the same time
        return threading.current_thread().name

    bench.executor.submit(job(action, "one"))
    bench.executor.submit(job(action, "two"))
    await bench.until(lambda: bench.executor.load == 0)
    results = []
    while (outcome := bench.executor.collect(0)) is not None:
        assert isinstance(outcome.command, AttemptSucceeded)
        results.append(outcome.command.result)
    assert len(set(results)) == 2
    assert threading.current_thread().name not in results


async def test_an_attempt_that_takes_too_long_is_given_up_and_its_outcome_unknown(bench: Bench) -> None:
    late = await bench.failure(forever, timeout=0.02)
    assert (late.unknown, late.retryable) == (True, True)
    assert late.error.startswith("TimeoutError")


async def test_a_thread_that_takes_too_long_is_given_up_too(bench: Bench) -> None:
    late = await bench.failure(bench.release.wait, timeout=0.02)
    assert (late.unknown, late.retryable) == (True, True)
    assert late.error.startswith("TimeoutError")


@pytest.mark.parametrize(
    ("error", "unknown", "retryable", "text"),
    [
        (TimeoutError("the shop is slow"), True, True, "TimeoutError: the shop is slow"),
        (ConnectionResetError("peer"), True, True, "ConnectionResetError: peer"),
        (OSError(5, "io"), True, True, "OSError: [Errno 5] io"),
        (PermanentError("declined"), False, False, "PermanentError: declined"),
        (ValueError("odd"), False, True, "ValueError: odd"),
        (SystemExit(3), False, True, "SystemExit: 3"),
    ],
)
async def test_what_an_action_raises_says_whether_to_try_again_and_what_is_known(
    bench: Bench, error: BaseException, unknown: bool, retryable: bool, text: str
) -> None:
    failed = await bench.failure(raising(error))
    assert (failed.unknown, failed.retryable, failed.error) == (unknown, retryable, text)
    assert 0 <= failed.dice < 1


async def test_an_exception_of_a_thread_is_told_alike(bench: Bench) -> None:
    def action() -> None:
        raise PermanentError("declined")

    failed = await bench.failure(action)
    assert (failed.unknown, failed.retryable, failed.error) == (False, False, "PermanentError: declined")


async def test_an_error_text_is_bounded(bench: Bench) -> None:
    failed = await bench.failure(raising(ValueError("x" * 100_000)))
    assert len(failed.error) == attempt.ERROR_LIMIT


@pytest.mark.parametrize("result", [object(), b"raw", {1: 2}, {1, 2}, 2**64, "\ud800", 1j])
async def test_a_result_that_is_not_json_is_final_and_its_step_is_to_be_undone(
    bench: Bench, result: object
) -> None:
    async def action() -> object:
        return result

    failed = await bench.failure(action)
    assert (failed.unknown, failed.retryable) == (True, False)
    assert failed.error.startswith("result_not_json: ")


async def test_a_result_takes_at_most_the_limit_as_json(bench: Bench) -> None:
    async def as_much_as_allowed() -> str:
        return "x" * (CONTEXT_LIMIT - 2)  # and two quotes

    async def too_much() -> str:
        return "é" * (CONTEXT_LIMIT // 2)  # two bytes each, and two quotes

    assert isinstance(await bench.outcome(job(as_much_as_allowed)), AttemptSucceeded)
    failed = await bench.failure(too_much)
    assert (failed.unknown, failed.retryable) == (True, False)
    assert failed.error == (
        f"result_too_large: {CONTEXT_LIMIT + 2} bytes of JSON, the limit is {CONTEXT_LIMIT}"
    )


# -- how many at once -------------------------------------------------------------------------------------------


async def test_no_more_attempts_run_than_there_are_places_and_none_is_forgotten(bench: Bench) -> None:
    gate = asyncio.Event()
    running = 0
    highest = 0

    async def action() -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await gate.wait()
        running -= 1

    for number in range(5):
        bench.executor.submit(job(action, f"saga-{number}"))
    assert bench.executor.load == 5
    assert bench.executor.is_full
    await bench.until(lambda: highest == 2)
    assert len(bench.executor.in_flight(0)) == 2, "what has not begun may still be left to another owner"
    gate.set()
    await bench.until(lambda: bench.executor.load == 0)
    assert highest == 2
    assert len(bench.executor.in_flight(0)) == 5, "what waits for the owner still counts as under way"
    assert [bench.executor.collect(0) is not None for _ in range(6)] == [True] * 5 + [False]
    assert bench.executor.in_flight(0) == set()


# -- whose outcome it is ----------------------------------------------------------------------------------------


async def instantly() -> None: ...


async def finish(bench: Bench, *sagas: str) -> None:
    """Attempts that are over, one after the other, without anyone having asked for their outcomes."""
    for saga in sagas:
        bench.executor.submit(job(instantly, saga))
        async with asyncio.timeout(20):
            while bench.executor.load:
                await asyncio.sleep(0)


def collected(bench: Bench) -> list[str]:
    sagas = []
    while (outcome := bench.executor.collect(0)) is not None:
        sagas.append(outcome.saga_id)
    return sagas


async def test_outcomes_wait_while_nobody_owns_their_partition_and_wake_the_next_owner(bench: Bench) -> None:
    woken: list[bool] = []
    bench.executor.detach(0)
    await finish(bench, "one", "two")
    assert bench.forwarded == []
    bench.executor.attach(0, lambda: woken.append(True))
    assert woken == [True]
    assert collected(bench) == ["one", "two"]


async def test_outcomes_go_to_the_other_process_that_owns_their_partition_now(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    await finish(bench, "ended before")
    bench.executor.submit(job(slow, "ends after"))
    bench.executor.submit(job(slow, "of another partition", partition=1))
    bench.executor.detach(0)
    bench.executor.moved(0)
    assert [outcome.saga_id for outcome in bench.forwarded] == ["ended before"]
    gate.set()
    await bench.until(lambda: len(bench.forwarded) == 2)
    assert [outcome.saga_id for outcome in bench.forwarded] == ["ended before", "ends after"]
    assert not bench.executor.has_outcomes(0)
    await bench.until(lambda: bench.executor.load == 0)
    assert bench.executor.has_outcomes(1)


async def test_a_partition_that_comes_back_has_its_outcomes_again(bench: Bench) -> None:
    bench.executor.moved(0)
    bench.attach()
    await finish(bench, "one")
    assert bench.forwarded == []
    assert collected(bench) == ["one"]


async def test_outcomes_of_a_lost_transaction_are_told_again_first_and_in_their_order(bench: Bench) -> None:
    await finish(bench, "one", "two")
    lost = [bench.executor.collect(0), bench.executor.collect(0)]
    await finish(bench, "three")
    bench.executor.give_back(0, [outcome for outcome in lost if outcome])
    assert collected(bench) == ["one", "two", "three"]


async def test_what_is_given_back_after_the_partition_moved_is_forwarded(bench: Bench) -> None:
    await finish(bench, "one")
    outcome = bench.executor.collect(0)
    assert outcome is not None
    bench.executor.moved(0)
    bench.executor.give_back(0, [outcome])
    assert bench.forwarded == [outcome]


# -- an orderly stop --------------------------------------------------------------------------------------------


async def test_a_drain_lets_what_can_end_end_and_cancels_the_rest_as_stopped(bench: Bench) -> None:
    async def soon() -> str:
        await asyncio.sleep(0)
        return "done"

    bench.executor.submit(job(soon, "soon"))
    bench.executor.submit(job(forever, "late"))
    bench.executor.submit(job(soon, "queued"))
    await bench.executor.drain()
    assert bench.executor.load == 0
    (lost,) = bench.executor.collect_lost(0)
    assert lost == Outcome("late", AttemptLost(1, "charge", "action", 1, "stopped"))
    assert collected(bench) == ["soon"], "what never began has no outcome: the next owner finds that out"


async def test_a_drain_gives_up_a_thread_that_does_not_end(bench: Bench) -> None:
    bench.executor.submit(job(bench.release.wait, "stuck"))
    await bench.executor.drain()
    (lost,) = bench.executor.collect_lost(0)
    assert isinstance(lost.command, AttemptLost)
    assert lost.command.reason == "stopped"


async def test_nothing_begins_once_a_drain_began(bench: Bench) -> None:
    await bench.executor.drain()
    bench.executor.submit(job(instantly))
    assert bench.executor.is_draining
    assert bench.executor.load == 0
    assert bench.executor.in_flight(0) == set()


# -- hostile actions --------------------------------------------------------------------------------------------


async def test_an_attempt_that_takes_too_long_says_how_long_it_was_waited_for(bench: Bench) -> None:
    late = await bench.failure(forever, timeout=0.02)
    assert late.error == "TimeoutError: no answer within 0.02 s"


async def test_what_an_action_raises_when_it_is_cut_off_does_not_make_its_outcome_known(bench: Bench) -> None:
    async def action() -> None:
        try:
            await forever()
        finally:
            raise PermanentError("cleaning up failed too")

    late = await bench.failure(action, timeout=0.02)
    assert (late.unknown, late.retryable) == (True, True)
    assert late.error.startswith("TimeoutError")


async def test_a_cancellation_from_within_is_a_failure_and_not_an_orderly_stop(bench: Bench) -> None:
    failed = await bench.failure(raising(asyncio.CancelledError("by its own library")))
    assert (failed.unknown, failed.retryable) == (True, True)
    assert failed.error.startswith("CancelledError")


async def test_an_exception_that_cannot_be_told_is_an_outcome_all_the_same(bench: Bench) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    failed = await bench.failure(raising(Silent()))
    assert failed.error.startswith("Silent")


async def test_an_error_text_can_always_be_written_to_the_log(bench: Bench) -> None:
    failed = await bench.failure(raising(ValueError("name \udc80")))
    assert failed.error == "ValueError: name ?"


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ((1, 2), [1, 2]),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, {"at": "2030-01-01T00:00:00+00:00"}),
        ([UUID(int=7)], ["00000000-0000-0000-0000-000000000007"]),
        (Colour.RED, "red"),
        (float("nan"), None),
        ([float("inf"), (1.5, True)], [None, [1.5, True]]),
    ],
)
async def test_a_result_is_kept_as_what_the_log_says_of_it(
    bench: Bench, result: object, kept: object
) -> None:
    async def action() -> object:
        return result

    succeeded = await bench.outcome(job(action))
    assert isinstance(succeeded, AttemptSucceeded)
    completed = StepCompleted(step="charge", phase="action", attempt=1, result=succeeded.result)
    assert completed == decode_data(completed.ce_type, completed.to_json())
    assert succeeded.result == kept


async def test_a_result_that_its_action_changes_later_stays_as_it_was(bench: Bench) -> None:
    shared = {"seen": [1]}

    async def action() -> dict[str, list[int]]:
        return shared

    succeeded = await bench.outcome(job(action))
    shared["seen"].append(2)
    assert succeeded.result == {"seen": [1]}


async def test_a_drain_does_not_wait_for_an_action_that_will_not_be_cancelled(bench: Bench) -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    bench.executor.submit(job(stubborn))
    try:
        await asyncio.wait_for(asyncio.shield(draining := asyncio.ensure_future(bench.executor.drain())), 5)
    finally:
        released.set()
        await draining
