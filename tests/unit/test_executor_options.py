"""What a step says of its attempts holds in the process that runs them: caps by kind, progress, being called again."""

import asyncio
from dataclasses import replace

import pytest

from sagahook.saga import continue_after
from sagahook_runner.adapters.attempt import Outcome
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.pulse import Pulse
from sagahook_runner.domain.commands import AttemptContinued, AttemptFailed, AttemptSucceeded
from tests.unit.test_executor import job


class Owner:
    """Of partition 0, beside an executor of ten places of which two are for quick steps."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.executor = Executor(max_running=10, threads=2, forward=lambda _: None, caps={"quick": 2})
        self.executor.attach(0, self.news.set)

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(20):
            while (found := self.executor.collect(0)) is None:
                self.news.clear()
                await self.news.wait()
        return found


@pytest.fixture
def owner() -> Owner:
    return Owner()


async def test_of_a_kind_no_more_run_at_once_than_its_cap_and_others_pass_them(owner: Owner) -> None:
    gate = asyncio.Event()
    begun: list[str] = []

    def waiting(name: str) -> object:
        async def action() -> None:
            begun.append(name)
            await gate.wait()

        return action

    for number in range(3):
        owner.executor.submit(job(waiting(f"quick {number}"), f"q-{number}", kind="quick"))  # type: ignore[arg-type]
    owner.executor.submit(job(waiting("network"), "n"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == ["quick 0", "quick 1", "network"]

    gate.set()
    for _ in range(4):
        await owner.outcome()
    assert begun[-1] == "quick 2"


async def test_of_what_an_action_says_of_its_progress_the_first_and_the_end_are_told(owner: Owner) -> None:
    pulse = Pulse(asyncio.get_running_loop())
    told: list[tuple[float, str]] = []

    async def action() -> None:
        for done in (0.1, 0.2, 0.3, 1.0):
            pulse.progress(done, f"{done:.0%}")
            await asyncio.sleep(0)
            told.extend((each.progress, each.message) for each in owner.executor.collect_progress(0).values())

    owner.executor.submit(job(action, pulse=pulse))
    await owner.outcome()

    told.extend((each.progress, each.message) for each in owner.executor.collect_progress(0).values())
    assert told == [(0.1, "10%"), (1.0, "100%")]


async def test_an_action_that_asks_to_be_called_again_is_neither_done_nor_failed(owner: Owner) -> None:
    async def action() -> object:
        return continue_after(60, carry={"asked": 1})

    owner.executor.submit(job(action))

    command = (await owner.outcome()).command
    assert isinstance(command, AttemptContinued)
    assert (command.after, command.carry) == (60.0, {"asked": 1})


async def test_an_attempt_that_gives_no_sign_of_life_is_given_up_and_its_outcome_unknown(
    owner: Owner,
) -> None:
    owner.executor.submit(job(asyncio.Event().wait, timeout=30, heartbeat=0.01))

    command = (await owner.outcome()).command

    assert isinstance(command, AttemptFailed)
    assert (command.error, command.unknown) == ("HeartbeatLost: no sign of life for 0.01 s", True)


async def test_an_attempt_that_gives_signs_of_life_goes_on_past_its_heartbeat(owner: Owner) -> None:
    pulse = Pulse(asyncio.get_running_loop())

    async def action() -> str:
        for _ in range(6):
            await asyncio.sleep(0.25)
            pulse.beat()
        return "done"

    owner.executor.submit(job(action, heartbeat=1.0, pulse=pulse))

    command = (await owner.outcome()).command
    assert isinstance(command, AttemptSucceeded)
    assert command.result == "done"


async def test_an_error_that_the_policy_names_or_whose_base_it_names_is_not_tried_again(owner: Owner) -> None:
    async def action() -> None:
        raise ConnectionResetError("gone")

    for names, retryable in (
        (("ConnectionError",), False),
        (("ConnectionResetError",), False),
        (("KeyError",), True),
    ):
        owner.executor.submit(replace(job(action), non_retryable=names))
        command = (await owner.outcome()).command
        assert isinstance(command, AttemptFailed)
        assert command.retryable == retryable


async def test_progress_told_just_before_the_end_is_not_lost(owner: Owner) -> None:
    pulse = Pulse(asyncio.get_running_loop())

    async def action() -> None:
        pulse.progress(0.5, "half")

    owner.executor.submit(job(action, pulse=pulse))
    await owner.outcome()
    await asyncio.sleep(0)
    assert owner.executor.collect_progress(0)["saga"].progress == 0.5
