"""Functions as sagas, on real runner processes: what they did is remembered over a crash, undone where they fail."""

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import CancelSaga, RetrySaga, SignalSaga
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import Follower, assert_fold_is_snapshots, following, put_command

SAGAS = 42


@dataclass
class Functions:
    """One deployment that plays functions, its log, and the files that its actions look at."""

    runners: RunnerHarness
    log: Follower

    def let_go(self) -> None:
        Path(f"{self.runners.effects_file}.go").touch()

    def mend(self) -> None:
        Path(f"{self.runners.effects_file}.mended").touch()

    async def crash(self, **settings: str) -> None:
        """The process that runs is killed, and another one begins."""
        process = self.runners.processes[-1]
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await self.runners.start_runner(**settings)

    async def begin(self, source: str, **settings: str) -> str:
        """The id of a saga that has just started."""
        await self.runners.start_runner(**settings)
        await self.runners.publish([{"id": "7", "size": "small"}], source)
        await self.log.until_count("saga.started")
        return self.log.started("id", "7")

    def seen(self, kind: str, step: str) -> int:
        return sum(event.kind == kind and event.data["step"] == step for event in self.log.events)

    async def until_begun(self, *steps: str) -> None:
        """Until the actions run that are held."""
        await self.log.until(lambda: all(self.effects(step, "began") for step in steps))

    def effects(self, step: str, what: str, phase: str = "action", run: int = 1) -> int:
        """How often an attempt of the step noted it."""
        lines = [line.split(" ") for line in self.runners.effects()]
        return sum(key.endswith(f"/{run}/{step}/{phase}") and noted == what for key, _, noted in lines)

    def undone(self) -> list[str]:
        """Of which steps, in their order."""
        return [line.split("/")[-2] for line in self.runners.effects() if "undid" in line]

    def result(self) -> Any:
        (completed,) = [
            event
            for event in self.log.events
            if event.kind == "saga.completed" and event.envelope.subject != "parcel"
        ]
        return completed.data["result"]


@pytest_asyncio.fixture
async def functions(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Functions]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    harness = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.functions")
    async with following(harness) as log:
        yield Functions(harness, log)
        log.assert_sound()
    await harness.stop()
    await assert_fold_is_snapshots(harness)


@pytest.mark.parametrize("source", ["straight", "plain"])
async def test_a_function_goes_on_after_a_kill_and_what_was_recorded_is_not_done_again(
    functions: Functions, source: str
) -> None:
    await functions.begin(source)
    await functions.until_begun("held")
    await functions.crash()
    functions.let_go()
    await functions.log.until_ended(1)
    assert functions.result() == (
        ["one", "two", "held"] if source == "straight" else ["one", "held", "three"]
    )
    assert functions.effects("one", "done") == 1
    assert functions.seen("step.scheduled", "one") == 1
    assert functions.effects("held", "done") == 1
    assert functions.seen("step.attempt_lost", "held") == 1


async def test_branches_that_run_at_once_go_on_each_by_itself_after_a_kill(functions: Functions) -> None:
    await functions.begin("branches")
    await functions.until_begun("a2", "b2", "c2")
    await functions.crash()
    functions.let_go()
    await functions.log.until_ended(1)
    assert functions.result() == [[f"{name}{n}" for n in (1, 2, 3)] for name in "abc"]
    assert [functions.effects(f"{name}{n}", "done") for name in "abc" for n in (1, 2, 3)] == [1] * 9


async def test_a_sleep_and_a_signal_outlive_the_process_that_waited_for_them(functions: Functions) -> None:
    saga_id = await functions.begin("waits")
    await functions.log.until_count("step.awaiting")
    await functions.crash()
    request = SignalSaga(
        actor="anna", reason="fine", signal="approved", signal_id="s-1", payload={"by": "anna"}
    )
    await put_command(functions.runners, saga_id, request)
    await functions.log.until_ended(1)
    assert functions.result() == {"by": "anna"}
    assert functions.log.kinds()["step.sleeping"] == 1
    (slept,) = [e for e in functions.log.events if e.kind == "step.sleeping"]
    (woke,) = [e for e in functions.log.events if e.kind == "step.completed" and e.data["step"] == "nap"]
    # An event's time is no finer than Kafka's.
    assert woke.envelope.time >= datetime.fromisoformat(slept.data["due_at"]) - timedelta(milliseconds=1)
    assert functions.effects("one", "done") == 1


async def test_a_failed_step_undoes_what_was_done_the_last_first_also_by_another_process(
    functions: Functions,
) -> None:
    """The compensations are those of a replay: the process that ran the function is gone."""
    await functions.begin("fails")
    await functions.log.until_count("saga.compensating")
    await functions.log.until(lambda: functions.effects("three", "began", "compensation") == 1)
    await functions.crash()
    functions.let_go()
    await functions.log.until_ended(1)
    assert functions.log.kinds()["saga.rolled_back"] == 1
    assert sorted(functions.undone()) == ["one", "three", "two"]
    assert functions.undone()[-1] == "one"
    assert functions.log.events[-1].data["error"] == "PermanentError: told to fail"
    assert functions.effects("three", "undid:three", "compensation") == 1
    assert functions.effects("one", "done") == 1


async def test_an_error_that_the_function_raises_undoes_what_it_did(functions: Functions) -> None:
    await functions.begin("raises")
    await functions.log.until_ended(1)
    assert functions.log.events[-1].kind == "saga.rolled_back"
    assert functions.log.events[-1].data["error"] == "ValueError: no stock after one"
    assert functions.effects("one", "undid:one", "compensation") == 1


async def test_code_that_asks_in_another_order_suspends_the_saga_until_the_old_code_is_back(
    functions: Functions,
) -> None:
    saga_id = await functions.begin("straight")
    await functions.until_begun("held")
    await functions.crash(SWAPPED="1")
    await functions.log.until_count("saga.suspended")
    (suspended,) = [e for e in functions.log.events if e.kind == "saga.suspended"]
    assert suspended.data["cause"] == "order"
    assert "request 1: the log remembers one, the function asks for two" in suspended.data["reason"]
    functions.let_go()
    await functions.crash()
    await put_command(functions.runners, saga_id, RetrySaga(actor="anna", reason="the old code is back"))
    await functions.log.until_ended(1)
    assert functions.result() == ["one", "two", "held"]
    assert functions.effects("one", "done") == functions.effects("two", "done") == 1


@pytest.mark.parametrize("source", ["imperative", "imperative-plain"])
async def test_an_imperative_saga_in_a_function_is_durable(functions: Functions, source: str) -> None:
    functions.mend()
    await functions.begin(source)
    await functions.until_begun("held")
    await functions.crash()
    functions.let_go()
    await functions.log.until_ended(1)
    status = functions.result()
    assert status == {
        "saga_id": "7",
        "user_id": "anna",
        "state": "committed",
        "total_steps": 3,
        "completed_steps": 3,
        "failed_at": None,
        "error": None,
    }
    assert functions.seen("step.scheduled", "reserve") == 1
    assert functions.seen("step.completed", "saga_commit") == 1


@pytest.mark.parametrize("source", ["imperative", "imperative-plain"])
async def test_an_imperative_saga_whose_step_fails_is_undone(functions: Functions, source: str) -> None:
    functions.let_go()
    await functions.begin(source)
    await functions.log.until_ended(1)
    assert functions.log.events[-1].kind == "saga.rolled_back"
    assert functions.undone() == ["reserve"]


async def test_a_cancelled_function_is_undone(functions: Functions) -> None:
    saga_id = await functions.begin("waits")
    await functions.log.until_count("step.awaiting")
    await put_command(functions.runners, saga_id, CancelSaga(actor="anna", reason="no longer wanted"))
    await functions.log.until_ended(1)
    assert functions.log.events[-1].kind == "saga.rolled_back"
    assert functions.log.events[-1].data["error"] == "Cancelled: by anna, no longer wanted"


async def test_a_function_that_takes_longer_than_its_deadline_is_undone(functions: Functions) -> None:
    await functions.begin("patience")
    await functions.log.until_ended(1)
    assert functions.log.events[-1].kind == "saga.rolled_back"
    assert functions.log.events[-1].data["error"].startswith("DeadlineExceeded")
    assert functions.undone() == ["one"]


async def test_a_retry_of_what_was_rolled_back_is_a_new_run_with_effects_of_its_own(
    functions: Functions,
) -> None:
    functions.let_go()
    saga_id = await functions.begin("fails")
    await functions.log.until_ended(1)
    functions.mend()
    await put_command(functions.runners, saga_id, RetrySaga(actor="anna", reason="mended"))
    await functions.log.until_ended(2)
    assert functions.log.events[-1].kind == "saga.completed"
    assert [functions.effects("one", "done", run=run) for run in (1, 2)] == [1, 1]
    assert functions.effects("four", "done", run=2) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_function_runs_another_one_as_its_child_and_undoes_it_where_it_fails(
    functions: Functions, fails: bool
) -> None:
    if not fails:
        functions.mend()
    saga_id = await functions.begin("family")
    await functions.until_begun("held")
    await functions.crash()
    functions.let_go()
    ended = "saga.rolled_back" if fails else "saga.completed"
    await functions.log.until(lambda: any(e.kind == ended for e in functions.log.of(saga_id)))
    assert functions.effects("pack", "done") == 1
    assert functions.undone() == (["pack"] if fails else [])
    if not fails:
        assert functions.result() == "pack small"


async def test_every_function_ends_as_it_is_told_while_runners_join_leave_and_are_killed(
    functions: Functions,
) -> None:
    runners, log = functions.runners, functions.log
    runners.settings["STEP_SECONDS"] = "0.1"
    first, second = await runners.start_runner(), await runners.start_runner()
    await runners.publish(({"id": str(n), "fail": n % 3 == 0} for n in range(30)), "busy")
    await runners.wait_for_effects(20)
    first.kill()
    await runners.start_runner()
    await runners.publish(({"id": str(n), "fail": n % 3 == 0} for n in range(30, SAGAS)), "busy")
    await log.until_ended(10)
    second.send_signal(signal.SIGTERM)
    await log.until_ended(SAGAS, seconds=120)
    contexts = {e.envelope.saga_id: e.data["context"] for e in log.events if e.kind == "saga.started"}
    steps = ["a1", "a2", "b1", "b2"]
    for saga_id, context in contexts.items():
        lines = {tuple(line.split(" ")[::2]) for line in runners.effects() if line.startswith(saga_id)}
        done = {(f"{saga_id}/1/{step}/action", what) for step in steps for what in ("began", "done")}
        undone = {(f"{saga_id}/1/{step}/compensation", f"undid:{step}") for step in steps}
        assert lines == done | (undone if context["fail"] else set())
        end = "saga.rolled_back" if context["fail"] else "saga.completed"
        assert log.of(saga_id)[-1].kind == end, log.story(saga_id)
    assert len(contexts) == SAGAS
