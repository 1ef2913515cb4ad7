"""One runner in memory: the engine's own parts around one partition. It dies with all that it has in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Literal

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook.saga import SagaApp
from sagahook_runner.adapters.attempt import Job, Outcome
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.records import Stamp
from sagahook_runner.domain.commands import (
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Park,
    Progress,
    Unpark,
)
from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.transaction import OwnerTransaction, Place

DICE = 0.5
"""The middle of every jitter: retries come exactly when their policies say."""

SETTINGS = ServiceSettings.model_construct(kafka="in memory", topic_prefix="test", instance="test")
"""Nothing is read from the environment."""

_FUNCTION_SECONDS = 5.0
"""How long, by the real clock, a function may take from one request to the next."""


class Process:
    """functions: those of code-first sagas, where the app has any."""

    def __init__(self, app: SagaApp, epoch: int) -> None:
        self.app = app
        self.epoch = epoch
        self.shard = Shard(Definitions(app.definitions()))
        self._has_functions = any(each.code for each in app.definitions())
        self._said: deque[tuple[str, Command]] = deque()
        self._heard = asyncio.Event()
        self._conductors = Conductors(app, self._say)
        self._executor = Executor(max_running=1_000, threads=8, forward=lambda outcome: None)
        self._executor.attach(0, self._heard.set)
        self._place = Place(0, 1, SETTINGS, app, self.shard, self._conductors, Controls())

    def transaction(self, now: datetime) -> OwnerTransaction:
        return OwnerTransaction(self._place, Stamp(now, self.epoch), DICE)

    def committed(self, transaction: OwnerTransaction) -> tuple[list[OutRecord], list[Job]]:
        """The records, which everybody sees from now on, and the attempts that may begin."""
        records = transaction.records()
        self._conductors.follow(0, transaction.of_functions)
        return records, list(transaction.jobs())

    async def run(self, job: Job, took: float) -> tuple[Outcome, Progress | None]:
        """What the attempt comes to, and what it said of its progress. took: seconds, as the log is told."""
        self._executor.submit(job)
        while (outcome := self._executor.collect(0)) is None:
            self._heard.clear()
            await self._heard.wait()
        progress = self._executor.collect_progress(0).get(outcome.saga_id)
        command = outcome.command
        milliseconds = round(took * 1000)
        if isinstance(command, AttemptSucceeded):
            command = replace(command, duration_ms=milliseconds)
        elif isinstance(command, AttemptFailed):
            command = replace(command, duration_ms=milliseconds, dice=DICE)
        return Outcome(outcome.saga_id, command), progress

    # -- functions ------------------------------------------------------------------------------------------

    async def listen(self) -> tuple[str, Command] | None:
        """What a function asks for next; None where all of them wait for what is under way. Raises AssertionError for
        one that waits for something else."""
        if not self._has_functions:
            return None
        # A replay gives the answers that it remembers one by one, 32 turns of the loop apart.
        turns = 64 + 40 * sum(len(state.told) for state in self.shard.live())
        for _ in range(turns):
            if self._said:
                return self._said.popleft()
            await asyncio.sleep(0)
        if not any(self._owes()):
            return None
        try:
            async with asyncio.timeout(_FUNCTION_SECONDS):
                while not self._said:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            raise AssertionError(
                f"the function of {', '.join(self._owes())} waits for something that is no step of its own: what is "
                "read from outside belongs in a step"
            ) from None
        return self._said.popleft()

    def _owes(self) -> Iterator[str]:
        """The sagas whose functions have all their answers, and so must ask for more or end."""
        for state in self.shard.live():
            is_its_turn = state.status == "EXECUTING" and not state.failing and not state.open
            if is_its_turn and is_code(self.app.get(state.name, state.version)):
                yield state.name

    def _say(self, partition: int, saga_id: str, command: Command) -> None:
        self._said.append((saga_id, command))
        self._heard.set()

    # -- the beginning and the end of it ----------------------------------------------------------------------

    def recover(self, reason: Literal["crash", "stopped"]) -> list[tuple[str, Command]]:
        """What this process, which took over, says first: what became of the attempts that the last one left."""
        verdicts: list[tuple[str, Command]] = []
        for state, opened in self.shard.running():
            lost = AttemptLost(state.run, opened.step, opened.phase, opened.attempt, reason)
            verdicts.append((state.saga_id, lost))
        verdicts += [(state.saga_id, Park(why)) for state, why in self.shard.unfit()]
        for state in self.shard.fit_again():
            verdicts.append((state.saga_id, Unpark(f"version {state.version} is deployed")))
        return verdicts

    def play_functions(self) -> None:
        """Of all of them, once: of what one asked for last, a part may have been lost."""
        for state in list(self.shard.live()):
            self._conductors.catch_up(0, state)

    async def die(self) -> None:
        self._conductors.drop(0)
        await self._executor.drain()
