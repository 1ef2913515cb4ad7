"""What a test sees of one run: all of it read from the log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sagahook.testing.histories import write_history
from sagahook.testing.log import Happened, Log, folded, states
from sagahook.testing.transcript import transcript
from sagahook_runner.domain.state import SagaState, Status
from sagahook_schemas.identity import child_id


class Run:
    """One run of one saga, as it is now: it changes as the world goes on."""

    def __init__(self, log: Log, saga_id: str, number: int, beginning: datetime) -> None:
        self._log = log
        self._beginning = beginning
        self.saga_id = saga_id
        self.number = number

    def __repr__(self) -> str:
        state = self.state
        why = state.reason or state.error
        return (
            f"<run {self.number} of {state.name} {self.saga_id}: {state.status}{f', {why}' if why else ''}>"
        )

    @property
    def events(self) -> tuple[Happened, ...]:
        return self._log.of(self.saga_id, self.number)

    @property
    def kinds(self) -> list[str]:
        """`saga.started`, `step.scheduled`, …"""
        return [event.kind for event in self.events]

    @property
    def state(self) -> SagaState:
        """What the engine knows of it. A finished run's has no results any more; `results` has them."""
        return folded(self.events)

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def context(self) -> dict[str, Any]:
        return dict(self._first("saga.started")["context"])

    @property
    def done(self) -> list[str]:
        """The steps that were done, in the order in which they ended; items as `charge[0]`."""
        return self._completed("action")

    @property
    def undone(self) -> list[str]:
        """The steps that were compensated, in that order."""
        return self._completed("compensation")

    @property
    def skipped(self) -> list[str]:
        return [str(data["step"]) for data in self._all("step.skipped")]

    @property
    def failed_step(self) -> str | None:
        """ "" where the run was called off."""
        return self.state.failed_step

    @property
    def error(self) -> str | None:
        return self.state.error

    @property
    def reason(self) -> str | None:
        """Why it is suspended."""
        return self.state.reason

    @property
    def left_behind(self) -> list[str]:
        """Of a failed run: the steps whose effects nobody has undone."""
        return list(self._last("saga.failed").get("unresolved", ())) if self.status == "FAILED" else []

    @property
    def results(self) -> dict[str, Any]:
        """Of the steps that were done; of a step that was done for each of several, the list."""
        found: dict[str, Any] = {}
        for state in states(self.events):
            found |= state.results
        return found

    @property
    def result(self) -> Any:
        """What a function returned, or a parent was told."""
        return self._last("saga.completed").get("result")

    @property
    def progress(self) -> float | None:
        """What an action said last of it, from 0 to 1."""
        return self._last("saga.progressed").get("progress")

    @property
    def waits_for(self) -> list[str]:
        """The signals that its steps wait for."""
        opened = self.state.open.values()
        return [each.signal or each.step for each in opened if each.standing == "awaiting"]

    def attempts(self, step: str, phase: str = "action") -> int:
        """How often the step was tried."""
        scheduled = self._all("step.scheduled")
        return sum((data["step"], data["phase"]) == (step, phase) for data in scheduled)

    def child(self, step: str) -> Run:
        """The saga that the step runs. Raises KeyError where it asked for none."""
        if step not in (data["step"] for data in self._all("step.child_requested")):
            raise KeyError(f"the step {step!r} asked for no child")
        asked_for = child_id(self.saga_id, self.number, step)
        return Run(self._log, asked_for, self._log.newest(asked_for) or 1, self._beginning)

    @property
    def transcript(self) -> str:
        """A line an event. Ids are words: `saga`, `saga.<step>` of a child, `parent`."""
        started = self._first("saga.started")
        words = {self.saga_id: "saga"}
        if "parent" in started:
            words[started["parent"]["saga_id"]] = "parent"
        for data in self._all("step.child_requested"):
            words[data["child_id"]] = f"saga.{data['step']}"
        text = transcript(self.events, beginning=self._beginning)
        for saga_id, word in words.items():
            text = text.replace(saga_id, word)
        return text

    def save(self, path: str | Path) -> None:
        """As a history for `sagahook replay-test`."""
        write_history(self.events, Path(path))

    def _completed(self, phase: str) -> list[str]:
        return [str(data["step"]) for data in self._all("step.completed") if data["phase"] == phase]

    def _all(self, kind: str) -> Iterator[dict[str, Any]]:
        return (event.data for event in self.events if event.kind == kind)

    def _first(self, kind: str) -> dict[str, Any]:
        return next(self._all(kind), {})

    def _last(self, kind: str) -> dict[str, Any]:
        return ([{}, *self._all(kind)])[-1]
