"""Functions played beside their logs, without Kafka: one partition's shard, conductors and executor in a process that
can die. `snapshots` is what survives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from sagahook.saga import Saga, SagaApp
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.domain.commands import AttemptLost, Command
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.jobs import job_of
from sagahook_schemas.base import Contract
from sagahook_schemas.steps import StepScheduled
from tests.saga_world import shard_of, start


class PlayedWorld:
    """`later`: how far its clock is ahead. loses: commands of functions that are lost, as with their transaction."""

    def __init__(self, *sagas: type[Saga], rest: float = 60.0) -> None:
        self.app = SagaApp([saga() for saga in sagas])
        self.rest = rest
        self.snapshots: dict[str, bytes] = {}
        self.events: list[Contract] = []
        self.later = timedelta()
        self.loses: Callable[[Command], bool] = lambda command: False
        self._news = asyncio.Event()
        self._seen = asyncio.Event()
        self._begin()

    # -- processes ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.shard = shard_of(self.app.definitions())
        self.executor = Executor(max_running=50, threads=4, forward=lambda outcome: None)
        self.conductors = Conductors(self.app, self.executor.say, self.rest)
        self.executor.attach(0, self._news.set)
        self._loop = asyncio.create_task(self._run())

    def die(self) -> None:
        self._loop.cancel()
        self.conductors.drop(0)
        for _, task in self.executor._running.values():
            task.cancel()

    def restart(self, *sagas: type[Saga]) -> None:
        """Another process takes over, perhaps with other code."""
        self.die()
        if sagas:
            self.app = SagaApp([saga() for saga in sagas])
        self._begin()
        for snapshot in self.snapshots.values():
            self.shard.restore(SagaState.from_json(snapshot))
        for state, running in list(self.shard.running()):
            which = (state.run, running.step, running.phase, running.attempt)
            self.apply(state.saga_id, AttemptLost(*which, "crash"))
        for state in list(self.shard.live()):
            if is_code(self.app.get(state.name, state.version)):
                play = self.conductors.catch_up if state.open else self.conductors.go_on
                play(0, state)

    async def _run(self) -> None:
        while True:
            while (outcome := self.executor.collect(0)) is not None:
                self.apply(outcome.saga_id, outcome.command)
            while (due := self.shard.timers.pop_due(self.now)) is not None:
                self.apply(due[0], due[1])  # type: ignore[arg-type]  # there are no limits here
            while (said := self.executor.collect_said(0)) is not None:
                if not self.loses(said[1]):
                    self.apply(*said)
            self._seen.set()
            self._news.clear()
            due_at = self.shard.timers.next_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    None if due_at is None else max(0.0, (due_at - self.now).total_seconds())
                ):
                    await self._news.wait()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    # -- what a test does -----------------------------------------------------------------------------------

    def start(self, name: str, saga_id: str = "saga", **context: object) -> None:
        self.apply(saga_id, start("event-1", name, 1, dict(context)))  # type: ignore[arg-type]

    def apply(self, saga_id: str, command: Command) -> None:
        """As its own transaction, which commits at once."""
        entries = self.shard.apply(saga_id, command, self.now).entries
        if not entries:
            return
        self.snapshots[saga_id] = entries[-1].state.to_json()
        self.events += [entry.event for entry in entries]
        self.conductors.follow(0, entries)
        for entry in entries:
            if isinstance(entry.event, StepScheduled) and entry.state.open[entry.event.step].remote is False:
                state = self.shard.state(saga_id)
                saga = self.app.get(state.name, state.version)
                assert saga is not None
                self.executor.submit(job_of(saga, state, state.open[entry.event.step], 0, self.conductors))
        self._news.set()

    def advance(self, seconds: float) -> None:
        self.later += timedelta(seconds=seconds)
        self._news.set()

    async def until(self, reached: Callable[[], bool], what: str = "") -> None:
        try:
            async with asyncio.timeout(20):
                while not reached():
                    self._seen.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await self._seen.wait()
        except TimeoutError:
            raise AssertionError(f"{what or 'it'} did not come: {self.kinds()}, {self.state()}") from None

    async def until_ends(self) -> SagaState:
        await self.until(lambda: self.state().status in FINAL | {"SUSPENDED"}, "an end")
        return self.state()

    def state(self, saga_id: str = "saga") -> SagaState:
        return self.shard.state(saga_id)

    def kinds(self) -> Sequence[str]:
        return [event.ce_type.removeprefix("sagahook.").removesuffix(".v1") for event in self.events]
