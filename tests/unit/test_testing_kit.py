"""What a test can do to its sagas with `sagahook.testing`, and what it sees of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagahook.saga import (
    CodeContext,
    DistributedSaga,
    PermanentError,
    Retry,
    RetryLater,
    Saga,
    StepContext,
    await_signal,
    child,
    compensate,
    continue_after,
    foreach,
    participant_step,
    saga,
    sleep,
    step,
    trigger,
)
from sagahook.saga.participant_handling import Request
from sagahook.testing import Refused, SagaTest, assert_transcript
from sagahook.testing.engine import given_up
from sagahook_runner.adapters.attempt import AttemptKey, Job
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.pulse import Pulse

EFFECTS: list[str] = []


@pytest.fixture(autouse=True)
def effects() -> list[str]:
    """What the actions did, in their order."""
    EFFECTS.clear()
    return EFFECTS


class Order(Saga):
    @trigger(source="order_created", idempotency_key="order_id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return {"order_id": event["order_id"]} if event["order_id"] > 0 else None

    @step
    async def reserve(self, ctx: StepContext) -> dict[str, Any]:
        EFFECTS.append("reserve")
        return {"shelf": 3}

    @compensate("reserve")
    async def release(self, ctx: StepContext, result: Any) -> None:
        EFFECTS.append(f"release {result}")

    @step(timeout=20)
    def charge(self, ctx: StepContext) -> str:
        EFFECTS.append("charge")
        return f"paid {ctx.context['order_id']}"

    @compensate("charge")
    def refund(self, ctx: StepContext, result: Any) -> None:
        EFFECTS.append(f"refund {result}")


class Approved(Saga):
    @step
    async def ask(self, ctx: StepContext) -> None: ...

    @compensate("ask")
    async def withdraw(self, ctx: StepContext, result: Any) -> None: ...

    approval = await_signal("approved", timeout=3600)

    @step(pivot=True)
    async def ship(self, ctx: StepContext) -> None: ...

    @step
    async def thank(self, ctx: StepContext) -> None: ...


# What a run comes to


async def test_a_saga_runs_to_its_end_with_its_own_actions(effects: list[str]) -> None:
    run = await SagaTest(Order).start(Order, {"order_id": 7})
    assert (run.status, run.done, run.undone, run.context) == (
        "COMPLETED",
        ["reserve", "charge"],
        [],
        {"order_id": 7},
    )
    assert run.results == {"reserve": {"shelf": 3}, "charge": "paid 7"}
    assert effects == ["reserve", "charge"]


async def test_a_declined_card_is_undone(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.fail("charge", PermanentError("declined"))
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.failed_step, run.error) == ("ROLLED_BACK", "charge", "PermanentError: declined")
    assert run.undone == ["reserve"]
    assert effects == ["reserve", "release {'shelf': 3}"]


async def test_webhooks_go_through_the_triggers() -> None:
    world = SagaTest(Order)
    first = await world.receive("order_created", {"order_id": 7})
    again = await world.receive("order_created", {"order_id": 7})
    assert (first.outcome, first.run.status) == ("triggered", "COMPLETED")
    assert again.run.saga_id == first.run.saga_id
    assert first.run.kinds[-1] == "saga.joined"
    assert len(world.runs) == 1


async def test_a_webhook_that_nobody_wants_starts_nothing() -> None:
    world = SagaTest(Order)
    declined = await world.receive("order_created", {"order_id": 0})
    broken = await world.receive("order_created", {"order_id": "seven"})
    assert (declined.outcome, declined.reason, declined.runs) == (
        "ignored",
        "every trigger declined it",
        (),
    )
    assert broken.outcome == "failed"
    with pytest.raises(AssertionError, match="asked for 0 sagas"):
        _ = broken.run


async def test_what_is_started_with_the_same_key_is_one_saga() -> None:
    world = SagaTest(Order)
    first = await world.start(Order, {"order_id": 1}, key="a")
    second = await world.start("order", {"order_id": 2}, key="a")
    assert first.saga_id == second.saga_id
    assert first.context == {"order_id": 1}


# What goes wrong


async def test_a_step_that_fails_so_many_times_is_retried_at_once_on_the_virtual_clock() -> None:
    world = SagaTest(Order)
    world.fail("charge", times=2)
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.attempts("charge")) == ("COMPLETED", 3)
    # Three attempts of 0.1 s after the first step's, and 1 s and 2 s between them.
    assert world.now - run.events[0].time == timedelta(seconds=3.4)


async def test_an_attempt_fails_by_its_number() -> None:
    world = SagaTest(Order)
    world.fail("charge", RetryLater("later", 60), on=1)
    world.fail("charge", PermanentError, on={2})
    run = await world.start(Order, {"order_id": 7})
    assert (run.attempts("charge"), run.error) == (2, "PermanentError: ")


async def test_an_answer_that_is_lost_after_the_effect_is_undone_too(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.fail("charge", after_effect=True)
    run = await world.start(Order, {"order_id": 7})
    assert run.undone == ["charge", "reserve"]
    assert effects == ["reserve", *["charge"] * 4, "refund None", "release {'shelf': 3}"]


async def test_a_hanging_step_is_given_up_at_its_time_out(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.hang("charge", times=1)
    run = await world.start(Order, {"order_id": 7})
    (failed,) = [event for event in run.events if event.kind == "step.failed"]
    assert failed.data["error"] == "TimeoutError: no answer within 20 s"
    assert (failed.data["outcome"], failed.data["duration_ms"]) == ("unknown", 20_000)
    assert effects == ["reserve", "charge"]


async def test_a_slow_step_takes_its_time_and_is_given_up_where_it_has_none_left(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.slow("reserve", 5)
    world.slow("charge", 21)
    run = await world.start(Order, {"order_id": 7})
    durations = [event.data["duration_ms"] for event in run.events if event.kind == "step.completed"]
    assert durations[0] == 5_000
    assert run.status == "ROLLED_BACK"
    assert effects.count("charge") == 4


async def test_what_is_said_of_a_given_up_attempt_is_what_the_executor_says() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    key = AttemptKey("saga", 1, "charge", "action", 1)
    job = Job(key, 0, hang, True, 0.01, "network", None, Pulse(asyncio.get_running_loop()))
    done = asyncio.Event()
    executor = Executor(max_running=1, threads=1, forward=lambda outcome: None)
    executor.attach(0, done.set)
    executor.submit(job)
    await done.wait()
    real, virtual = executor.collect(0), given_up(job, job.timeout)
    assert real is not None
    for name in ("error", "retryable", "unknown"):
        assert getattr(real.command, name) == getattr(virtual.command, name)


async def test_a_step_without_a_sign_of_life_is_given_up() -> None:
    class Watched(Saga):
        @step(heartbeat=5, timeout=600, retry=Retry(max=0))
        async def work(self, ctx: StepContext) -> None: ...

    world = SagaTest(Watched)
    world.hang("work")
    run = await world.start(Watched)
    assert run.error == "HeartbeatLost: no sign of life for 5 s"


async def test_a_compensation_that_fails_for_good_waits_for_an_operator() -> None:
    world = SagaTest(Order)
    world.fail("charge", PermanentError("declined"))
    world.fail("reserve", PermanentError("locked"), times=1, phase="compensation")
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.left_behind) == ("FAILED", ["reserve"])
    await world.resolve(run, "reserve", "retry")
    assert (run.status, run.left_behind, run.undone) == ("ROLLED_BACK", [], ["reserve"])


async def test_code_can_stand_in_for_a_step(effects: list[str]) -> None:
    async def charge(ctx: StepContext) -> str:
        return f"stand-in for {ctx.idempotency_key.rpartition('/1/')[2]}"

    world = SagaTest(Order)
    world.replace("charge", charge)
    world.replace("reserve", lambda ctx: "a shelf")
    run = await world.start(Order, {"order_id": 7})
    assert run.results == {"reserve": "a shelf", "charge": "stand-in for charge/action"}
    assert effects == []


def test_a_fault_of_a_step_that_there_is_not_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"no step 'chrage'; there are charge, reserve"):
        SagaTest(Order).fail("chrage")


async def test_a_saga_that_is_not_deployed_here_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"give it to SagaTest"):
        await SagaTest(Order).start(Approved)


# Crashes


async def test_a_process_that_dies_during_a_step_makes_it_again(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.crash_during("charge", after_effect=True)
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.attempts("charge")) == ("COMPLETED", 2)
    assert "step.attempt_lost" in run.kinds
    assert effects == ["reserve", "charge", "charge"]


async def test_a_step_that_kills_its_process_three_times_is_suspended(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.crash_during("charge", times=None)
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.state.cause) == ("SUSPENDED", "losses")
    assert effects == ["reserve"]


async def test_a_crash_at_any_time_loses_no_saga() -> None:
    world = SagaTest(Order, auto_advance=False)
    run = await world.start(Order, {"order_id": 7})
    assert (run.status, run.done) == ("EXECUTING", [])
    await world.crash()
    await world.advance(0.15)
    assert run.done == ["reserve"]
    await world.crash()
    await world.settle()
    assert (run.status, run.attempts("reserve"), run.attempts("charge")) == ("COMPLETED", 2, 2)


# Time, signals, operators


async def test_a_signal_is_waited_for_until_the_test_lets_the_time_pass() -> None:
    world = SagaTest(Approved)
    approved, forgotten = await world.start(Approved), await world.start(Approved)
    assert approved.waits_for == ["approved"]
    await world.advance(minutes=30)
    await world.signal(approved, "approved", {"by": "Ada"})
    assert (approved.status, approved.results["approval"]) == ("COMPLETED", {"by": "Ada"})
    assert forgotten.status == "EXECUTING"
    await world.advance(hours=1)
    assert (forgotten.status, forgotten.undone) == ("ROLLED_BACK", ["ask"])


async def test_a_signal_that_was_seen_is_a_duplicate() -> None:
    world = SagaTest(Approved)
    run = await world.start(Approved)
    for _ in range(2):
        await world.signal(run, "other", signal_id="one")
    assert run.kinds.count("saga.signalled") == 1


async def test_a_saga_is_cancelled_but_not_past_its_pivot() -> None:
    world = SagaTest(Approved)
    run, shipped = await world.start(Approved), await world.start(Approved)
    await world.cancel(run, "changed my mind")
    assert (run.status, run.undone) == ("ROLLED_BACK", ["ask"])
    assert run.error == "Cancelled: by test, changed my mind"
    world.fail("thank", PermanentError("no address"), times=1)
    await world.signal(shipped, "approved")
    assert (shipped.status, shipped.state.cause) == ("SUSPENDED", "forward")
    with pytest.raises(Refused, match="past its pivot"):
        await world.cancel(shipped)
    await world.retry(shipped)
    assert shipped.status == "COMPLETED"


async def test_what_was_rolled_back_is_run_again_as_another_run(effects: list[str]) -> None:
    world = SagaTest(Order)
    world.fail("charge", PermanentError("declined"), times=1)
    first = await world.start(Order, {"order_id": 7})
    second = await world.retry(first)
    assert (first.number, first.status) == (1, "ROLLED_BACK")
    assert (second.number, second.status) == (2, "COMPLETED")
    assert effects[-2:] == ["reserve", "charge"]


async def test_sleeps_and_deadlines_pass_by_themselves() -> None:
    class Patient(Saga):
        deadline = timedelta(hours=1)

        @step
        async def begin(self, ctx: StepContext) -> None: ...

        @compensate("begin")
        async def unbegin(self, ctx: StepContext, result: Any) -> None: ...

        night = sleep(until=lambda ctx: ctx.context["seconds"])

    world = SagaTest(Patient)
    short, long = (
        await world.start(Patient, {"seconds": 60}),
        await world.start(Patient, {"seconds": 86_400}),
    )
    assert (short.status, long.status) == ("COMPLETED", "ROLLED_BACK")
    assert long.error == "DeadlineExceeded: the run took longer than its deadline allows"
    # A deadline of what has ended moves no clock.
    assert world.now - short.events[0].time < timedelta(hours=2)


async def test_a_saga_that_never_rests_is_told_of() -> None:
    class Polling(Saga):
        @step
        async def poll(self, ctx: StepContext) -> Any:
            return continue_after(60)

    with pytest.raises(AssertionError, match="do not come to rest"):
        await SagaTest(Polling).start(Polling)
    world = SagaTest(Polling, auto_advance=False)
    run = await world.start(Polling)
    await world.advance(hours=1)
    assert run.attempts("poll") == 60


# The patterns


async def test_an_action_asks_to_be_called_again_with_what_it_carries() -> None:
    class Counting(Saga):
        @step
        async def count(self, ctx: StepContext) -> Any:
            so_far = int(ctx.carry or 0) + 1  # type: ignore[arg-type]
            return so_far if so_far == 3 else continue_after(600, so_far)

    run = await SagaTest(Counting).start(Counting)
    assert (run.results, run.attempts("count")) == ({"count": 3}, 3)


async def test_progress_is_logged() -> None:
    class Telling(Saga):
        @step
        async def tell(self, ctx: StepContext) -> None:
            ctx.progress(0.25, "begun")

        @step
        def tell_plainly(self, ctx: StepContext) -> None:
            ctx.progress(0.75, "nearly done")

    run = await SagaTest(Telling).start(Telling)
    assert run.progress == 0.75
    assert run.kinds.count("saga.progressed") == 2


async def test_a_condition_is_asked_and_can_fail() -> None:
    class Choosy(Saga):
        @step(when=lambda ctx: ctx.context["gift"], retry=Retry(max=0))
        async def wrap(self, ctx: StepContext) -> None: ...

    world = SagaTest(Choosy)
    plain, wrapped = await world.start(Choosy, {"gift": False}), await world.start(Choosy, {"gift": True})
    assert (plain.skipped, plain.done, wrapped.done) == (["wrap"], [], ["wrap"])
    world.fail("wrap", phase="prepare")
    assert (await world.start(Choosy, {"gift": True})).status == "ROLLED_BACK"


class Batch(Saga):
    @foreach(items=lambda ctx: ctx.context["cards"], concurrency=2)
    @step(retry=Retry(max=0))
    async def charge(self, ctx: StepContext) -> str:
        return f"{ctx.index}: {ctx.item}"

    @compensate("charge")
    async def refund(self, ctx: StepContext, result: Any) -> None:
        EFFECTS.append(f"refund {result}")


async def test_items_are_steps_that_can_fail_one_by_one(effects: list[str]) -> None:
    world = SagaTest(Batch)
    run = await world.start(Batch, {"cards": ["a", "b", "c"]})
    assert run.results["charge"] == ["0: a", "1: b", "2: c"]
    world.fail("charge[2]", PermanentError("declined"))
    run = await world.start(Batch, {"cards": ["a", "b", "c"]})
    assert (run.status, run.undone) == ("ROLLED_BACK", ["charge[1]", "charge[0]"])
    assert effects == ["refund 1: b", "refund 0: a"]


class Payment(Saga):
    @step
    async def pay(self, ctx: StepContext) -> str:
        return "paid"

    @compensate("pay")
    async def repay(self, ctx: StepContext, result: Any) -> None:
        EFFECTS.append("repay")


class Trip(Saga):
    payment = child("payment", context=lambda ctx: {"for": ctx.context["trip"]})

    @step
    async def travel(self, ctx: StepContext) -> None: ...


async def test_a_child_runs_and_is_undone_with_its_parent(effects: list[str]) -> None:
    world = SagaTest(Trip, Payment)
    run = await world.start(Trip, {"trip": 5})
    paid = run.child("payment")
    assert (run.status, run.results["payment"]) == ("COMPLETED", "paid")
    assert (paid.status, paid.context) == ("COMPLETED", {"for": 5})
    world.fail("travel", PermanentError("rain"), saga=Trip)
    run = await world.start(Trip, {"trip": 6})
    assert (run.status, run.child("payment").status, effects) == ("ROLLED_BACK", "ROLLED_BACK", ["repay"])
    with pytest.raises(KeyError, match="asked for no child"):
        run.child("travel")


class Billed(Saga):
    bill = participant_step("billing", data={"order": "{order_id}"}, compensate=True, timeout=60)

    @step
    async def ship(self, ctx: StepContext) -> None: ...


async def test_a_participant_is_played_by_a_handler() -> None:
    asked: list[tuple[str, str, Any, Any]] = []

    async def billing(request: Request) -> Any:
        asked.append((request.step, request.phase, request.data, request.result))
        return {"invoice": 1}

    world = SagaTest(Billed)
    world.participant("billing", billing)
    world.fail("ship", PermanentError("no truck"))
    run = await world.start(Billed, {"order_id": 7})
    assert (run.status, run.undone) == ("ROLLED_BACK", ["bill"])
    data = {"order": 7}
    assert asked == [("bill", "action", data, None), ("bill", "compensation", data, {"invoice": 1})]


async def test_a_participant_fails_hangs_and_survives_a_crash_of_the_runner() -> None:
    def billing(request: Request) -> str:
        if request.attempt == 1:
            raise RuntimeError("busy")
        return "billed"

    world = SagaTest(Billed)
    world.participant("billing", billing)
    world.hang("bill", on=2, after_effect=True)
    run = await world.start(Billed, {"order_id": 7})
    errors = [event.data["error"] for event in run.events if event.kind == "step.failed"]
    assert errors == ["RuntimeError: busy", "TimeoutError: billing did not answer in time"]
    assert run.results["bill"] == "billed"

    world = SagaTest(Billed, auto_advance=False)
    world.participant("billing", lambda request: "billed")
    run = await world.start(Billed, {"order_id": 7})
    await world.crash()
    await world.settle()
    assert (run.status, run.attempts("bill")) == ("COMPLETED", 1)


async def test_a_participant_that_nobody_plays_is_told_of() -> None:
    with pytest.raises(AssertionError, match="nobody plays the participant 'billing'"):
        await SagaTest(Billed).start(Billed, {"order_id": 7})


class OneByOne(Saga):
    @trigger(source="jobs", max_concurrent=1)
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    go = await_signal("go")


async def test_limits_hold_in_the_order_of_arrival_also_through_a_crash() -> None:
    world = SagaTest(OneByOne)
    first, second, third = [(await world.receive("jobs", {"n": n})).run for n in range(3)]
    assert [run.status for run in (first, second, third)] == ["EXECUTING", "PENDING", "PENDING"]
    await world.crash()
    await world.signal(first, "go")
    assert [run.status for run in (first, second, third)] == ["COMPLETED", "EXECUTING", "PENDING"]


async def test_starts_come_as_fast_as_their_rate_allows() -> None:
    class Rated(Saga):
        @trigger(source="jobs", rate_limit="1/min")
        def accept(self, event: dict[str, Any]) -> dict[str, Any]:
            return event

        @step
        async def work(self, ctx: StepContext) -> None: ...

    world = SagaTest(Rated)
    began = world.now
    for n in range(3):
        await world.receive("jobs", {"n": n})
    assert [run.status for run in world.runs] == ["COMPLETED"] * 3
    assert world.now - began == timedelta(seconds=120.1)


# Functions


def did(what: str) -> Callable[[], str]:
    def act() -> str:
        EFFECTS.append(what)
        return what

    return act


@saga(source="orders")
async def order(ctx: CodeContext, event: dict[str, Any]) -> Any:
    stock = await ctx.step("reserve", did("reserve"), compensate=did("release"))
    await ctx.sleep("night", 3600)
    a, b = await asyncio.gather(ctx.step("charge", lambda: 1), ctx.step("label", lambda: 2))
    if event.get("asks"):
        await ctx.signal("approved", timeout=86_400)
    return [stock, a, b]


async def test_a_function_is_a_saga_like_any_other(effects: list[str]) -> None:
    world = SagaTest(order)
    run = (await world.receive("orders", {"id": 1})).run
    assert (run.status, run.result, run.done) == (
        "COMPLETED",
        ["reserve", 1, 2],
        ["reserve", "night", "charge", "label"],
    )
    world.fail("label", PermanentError("no paper"))
    run = (await world.receive("orders", {"id": 2})).run
    assert (run.status, run.undone, effects[-1]) == ("ROLLED_BACK", ["reserve"], "release")


async def test_a_function_goes_on_after_crashes_where_it_was(effects: list[str]) -> None:
    world = SagaTest(order)
    world.crash_during("charge", after_effect=True)
    run = await world.start(order, {"asks": True})
    await world.crash()
    await world.signal(run, "approved")
    assert (run.status, run.result, effects) == ("COMPLETED", ["reserve", 1, 2], ["reserve"])


async def test_a_plain_function_and_the_imperative_form_do_too(effects: list[str]) -> None:
    @saga()
    def imperative(ctx: CodeContext, event: dict[str, Any]) -> str:
        distributed = DistributedSaga(ctx.saga_id, "user-1")
        distributed.execute_step("reserve", lambda: "r", lambda: EFFECTS.append("release"))
        distributed.execute_step("charge", lambda: "c", lambda: EFFECTS.append("refund"))
        distributed.commit()
        return "committed"

    world = SagaTest(imperative)
    world.crash_during("charge")
    run = await world.start(imperative)
    assert (run.status, run.result) == ("COMPLETED", "committed")
    world.fail("charge", PermanentError("declined"))
    run = await world.start(imperative)
    assert (run.status, effects) == ("ROLLED_BACK", ["release"])


# Versions


async def test_what_is_deployed_can_change_while_sagas_wait() -> None:
    class Renamed(Saga):
        name = "approved"

        @step
        async def inquire(self, ctx: StepContext) -> None: ...

        approval = await_signal("approved", timeout=3600)

    world = SagaTest(Approved)
    run = await world.start(Approved)
    await world.deploy(Renamed)
    assert (run.status, run.state.cause) == ("SUSPENDED", "definition")
    await world.deploy(Approved)
    await world.signal(run, "approved")
    assert run.status == "COMPLETED"


async def test_a_run_is_migrated_where_its_history_fits() -> None:
    class Longer(Saga):
        name, version = "approved", 2

        @step
        async def ask(self, ctx: StepContext) -> None: ...

        approval = await_signal("approved", timeout=3600)

        @step
        async def celebrate(self, ctx: StepContext) -> None: ...

    world = SagaTest(Approved, Longer)
    run = await world.start(Approved)
    with pytest.raises(Refused, match="version 3"):
        await world.migrate(run, 3)
    await world.migrate(run, 2)
    await world.signal(run, "approved")
    assert run.done == ["ask", "approval", "celebrate"]


# Transcripts


async def test_the_same_test_gives_the_same_transcript() -> None:
    async def once() -> str:
        world = SagaTest(Trip, Payment, Billed)
        world.crash_during("pay")
        world.fail("travel", times=1)
        return (await world.start(Trip, {"trip": 5})).transcript

    first, second = await once(), await once()
    assert first == second
    assert 'child_id="saga.payment"' in first
    assert "saga/1/travel/action" in first


async def test_a_golden_transcript_is_kept_compared_and_written_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAGAHOOK_WRITE_GOLDEN", raising=False)
    golden = tmp_path / "golden" / "order.txt"
    run = await SagaTest(Order).start(Order, {"order_id": 7})
    with pytest.raises(AssertionError, match="there is no"):
        assert_transcript(run, golden)
    assert_transcript(run, golden, write=True)
    assert_transcript(run, golden)
    world = SagaTest(Order)
    world.fail("charge", times=1)
    other = await world.start(Order, {"order_id": 7})
    with pytest.raises(AssertionError, match=r"\+ 5 .*step\.failed charge"):
        assert_transcript(other, golden)
    monkeypatch.setenv("SAGAHOOK_WRITE_GOLDEN", "1")
    assert_transcript(other, golden)
    assert golden.read_text() == other.transcript
