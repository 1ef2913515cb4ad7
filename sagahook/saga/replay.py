"""In which order a function hears of its answers: that of its log, the first time and ever after.

Branches that run at once each ask for their next step when they hear of their last. Were all the answers of
a log given at once, the branches would ask in another order than the first time, and a function that never
changed would look as if it had. So an answer is given only when everything that stands before it in the log
has been asked for or given, and when the function has done all that it does without it: the first time an
answer comes late enough for that, or does not, as its action happens to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from sagahook.saga.journal import OrderChanged, StepFailed, again
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition

_TURNS = 32
"""Turns of the event loop in which a function comes to what it asks for next. Every await of a coroutine by
a task of its own takes one or two; where it needs more, it asks in another order and is suspended, not
misled."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The log remembers a request (`step.declared`)."""

    number: int
    name: str
    does: str

    def __str__(self) -> str:
        return self.name if self.does == "action" else f"{self.name} ({self.does})"


@dataclass(frozen=True, slots=True)
class Answered:
    """The log remembers what the request came to. error: it failed for good."""

    number: int
    result: JsonValue = None
    error: str | None = None


class Replay:
    """The log of one run, to which entries are added while the function runs. Use it on one event loop."""

    def __init__(self, log: Iterable[Asked | Answered] = ()) -> None:
        self._log = list(log)
        self._remembered = {entry.number: entry for entry in self._log if isinstance(entry, Asked)}
        self._waiting: dict[int, asyncio.Future[JsonValue]] = {}
        self._at = 0
        self._giving: asyncio.Task[None] | None = None
        self._end: StepFailed | None = None
        self._has_acted = True
        """Whether nothing was asked for or answered since it was last given its turns."""

    @property
    def log(self) -> tuple[Asked | Answered, ...]:
        return tuple(self._log)

    def knows(self, number: int) -> bool:
        """Whether the request was remembered before; else it is to be written to the log, and `add`ed."""
        return number in self._remembered

    def answered(self, number: int) -> bool:
        return any(isinstance(entry, Answered) and entry.number == number for entry in self._log)

    def add(self, entry: Asked | Answered) -> None:
        """What has just been committed to the log."""
        self._log.append(entry)
        if isinstance(entry, Asked):
            self._remembered[entry.number] = entry
        self._go_on()

    def end(self, failure: StepFailed) -> None:
        """The run is called off: once all of the log has been given, whatever is waited for comes to this."""
        self._end = failure
        self._go_on()

    @property
    def is_waiting(self) -> bool:
        """Whether the function has heard all of the log and waits for more of it, asking for nothing new."""
        heard = self._at == len(self._log) and (self._giving is None or self._giving.done())
        return heard and self._waiting.keys() <= self._remembered.keys() and self._has_asked

    @property
    def overdue(self) -> OrderChanged | None:
        """What the log has next, where the function waits for an answer that comes after it. It may still ask."""
        if self._at == len(self._log) or self._log[self._at].number in self._waiting or not self._has_asked:
            return None
        number = self._log[self._at].number
        return OrderChanged(number, str(self._remembered[number]), "nothing, and waits for what came later")

    @property
    def _has_asked(self) -> bool:
        return any(not waiting.done() for waiting in self._waiting.values())

    def check(self, number: int, definition: StepDefinition) -> None:
        """Raises OrderChanged where the log remembers another request."""
        asked = Asked(number, definition.name, definition.does)
        if self._remembered.get(number, asked) != asked:
            raise OrderChanged(number, str(self._remembered[number]), str(asked))

    async def answer(self, number: int, definition: StepDefinition) -> JsonValue:
        """Wait for the answer of a request that the log knows. Raises OrderChanged, StepFailed."""
        self.check(number, definition)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._has_acted = False
        self._go_on()
        return await self._waiting[number]

    def finish(self) -> None:
        """The function returned. Raises OrderChanged where its log remembers requests that it no longer
        makes."""
        for number, asked in sorted(self._remembered.items()):
            if number not in self._waiting:
                raise OrderChanged(number, str(asked), "nothing more")

    def _go_on(self) -> None:
        if self._giving is None or self._giving.done():
            self._giving = asyncio.get_running_loop().create_task(self._give())

    async def _give(self) -> None:
        while True:
            await self._let_it_act()
            if self._at == len(self._log):
                break
            entry = self._log[self._at]
            if entry.number not in self._waiting:
                return  # the function must ask for it first
            self._at += 1
            if isinstance(entry, Answered):
                self._tell(entry)
                self._has_acted = False
        if self._end is not None:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(again(self._end))

    async def _let_it_act(self) -> None:
        """Until it has asked for nothing more for as many turns as that may take it."""
        while not self._has_acted:
            self._has_acted = True
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _tell(self, entry: Answered) -> None:
        waiting = self._waiting[entry.number]
        if waiting.done():
            return  # its asker was cancelled
        if entry.error is None:
            waiting.set_result(entry.result)
        else:
            waiting.set_exception(StepFailed(self._remembered[entry.number].name, entry.error))
