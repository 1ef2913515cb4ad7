"""Plays a function of a code-first saga beside a recorded history, and tells where it asks for something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sagahook.saga.code import CodeSaga
from sagahook.saga.code_context import CodeContext
from sagahook.saga.journal import ActionCall, OrderChanged, Requests, StepFailed, UndoCall, play
from sagahook.saga.replay import Answered, Asked, Replay
from sagahook.testing.log import Happened
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.values import told

PATIENCE = 10.0
"""Seconds, by the real clock, that a function may take from one request to the next."""

_ERROR_LIMIT = 2_000


class Changed(NamedTuple):
    """step: that the log remembers, or that the function asks for; "" where it is about the end."""

    step: str
    what: str


class _Recorded:
    """The function's `Journal`: what the history remembers is answered, what is beyond it never is. No action runs."""

    def __init__(self, log: Iterable[Asked | Answered]) -> None:
        self.replay = Replay(log)
        self.asked_for: set[int] = set()
        self.beyond: str | None = None
        self.heard = asyncio.Event()

    async def request(
        self,
        number: int,
        definition: StepDefinition,
        action: ActionCall | None,
        compensation: UndoCall | None,
        arguments: JsonValue,
    ) -> JsonValue:
        self.replay.check(number, definition)
        self.asked_for.add(number)
        known = self.replay.knows(number)
        if not known:
            self.beyond = self.beyond or definition.name
        self.heard.set()
        if not known:
            await asyncio.Event().wait()
        return await self.replay.answer(number, definition)

    def missing(self) -> Asked | None:
        """The first request of the history that was not made."""
        asked = (entry for entry in self.replay.log if isinstance(entry, Asked))
        return next((entry for entry in asked if entry.number not in self.asked_for), None)

    @property
    def waits(self) -> bool:
        """Whether the function may wait: for an answer that the history does not have."""
        asked = (entry for entry in self.replay.log if isinstance(entry, Asked))
        return self.beyond is not None or any(not self.replay.answered(entry.number) for entry in asked)


async def play_again(saga: CodeSaga, happened: list[Happened], last: SagaState) -> Changed | None:
    """None: the function asks for what the history remembers, in its order. last: the state at its end."""
    journal = _Recorded(_script(happened))
    requests = Requests(journal, asyncio.get_running_loop())
    context: dict[str, Any] = happened[0].data["context"]
    code_context = CodeContext(
        requests,
        saga=last.name,
        saga_id=last.saga_id,
        run=last.run,
        correlation_id=last.correlation_id,
        context=context,
        user_id=last.user_id,
    )
    task = asyncio.create_task(play(saga.function, requests, code_context, dict(context)))
    try:
        await _until_it_waits(task, journal, owes=last.status in ("EXECUTING", "COMPLETED"))
        return _judged(task, journal, last)
    finally:
        requests.stop()
        task.cancel()
        with contextlib.suppress(BaseException):
            await task


async def _until_it_waits(task: asyncio.Task[Any], journal: _Recorded, *, owes: bool) -> None:
    """owes: whether a function that has all its answers must ask for more, or end."""
    while not task.done() and (journal.missing() is not None or (owes and not journal.waits)):
        journal.heard.clear()
        hearing = asyncio.create_task(journal.heard.wait())
        done, _ = await asyncio.wait({hearing, task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        if not done:
            return
    for _ in range(64 + 40 * len(journal.replay.log)):
        # The replay gives its answers one by one, 32 turns of the loop apart.
        await asyncio.sleep(0)


def _judged(task: asyncio.Task[Any], journal: _Recorded, last: SagaState) -> Changed | None:
    missing, raised = journal.missing(), task.exception() if task.done() else None
    if isinstance(raised, OrderChanged):
        number, remembered, _ = raised.told
        return Changed(_name(journal, number) or remembered, str(raised))
    if missing is not None:
        instead = f"waits for something else for {PATIENCE:g} s"
        if task.done():
            instead = "ends" if raised is None else f"ends with {told(raised, _ERROR_LIMIT)}"
        return Changed(missing.name, f"the log remembers {missing}, and the function {instead}")
    if last.status != "COMPLETED":
        return None
    if journal.beyond is not None:
        return Changed(journal.beyond, f"the run was completed, and the function asks for {journal.beyond}")
    if raised is not None and not isinstance(raised, StepFailed):
        return Changed("", f"the run was completed, and the function ends with {told(raised, _ERROR_LIMIT)}")
    return None if task.done() else Changed("", "the run was completed, and the function does not end")


def _name(journal: _Recorded, number: int) -> str | None:
    asked = (entry for entry in journal.replay.log if isinstance(entry, Asked))
    return next((entry.name for entry in asked if entry.number == number), None)


def _script(happened: Iterable[Happened]) -> Iterator[Asked | Answered]:
    """What was asked and answered, in the order of the log."""
    numbers: dict[str, int] = {}
    answered: set[str] = set()
    for event in happened:
        data = event.data
        match event.kind:
            case "step.declared":
                definition = data["definition"]
                numbers[definition["name"]] = data["number"]
                yield Asked(data["number"], definition["name"], definition["does"])
            case "step.completed" if data["phase"] == "action" and data["step"] in numbers:
                answered.add(data["step"])
                yield Answered(numbers[data["step"]], data.get("result"))
            case "saga.failing" | "saga.compensating" if data["failed_step"] in numbers.keys() - answered:
                answered.add(data["failed_step"])
                yield Answered(numbers[data["failed_step"]], error=data["error"])
