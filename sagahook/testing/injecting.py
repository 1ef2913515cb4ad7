"""What a test lets go wrong, and what it puts in the place of others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sagahook.saga import Saga, SagaApp, UnknownOutcomeError
from sagahook.saga.participant_handling import Request
from sagahook.testing.engine import Engine
from sagahook.testing.faults import Fault, How, Stand
from sagahook.testing.participants import Standin
from sagahook_runner.domain.state import item_of
from sagahook_schemas.identity import Phase


class Injections:
    """Of the options that all have: step is a step's name, or that of one item, `charge[1]`; phase says whether its
    action, its compensation or its preparation is meant, saga of which saga, where several have such a step. times: so
    many attempts; on: just those, from 1; neither: all. Raises ValueError for a step that there is not."""

    _app: SagaApp
    _engine: Engine

    def fail(
        self,
        step: str,
        error: BaseException | type[BaseException] | None = None,
        *,
        times: int | None = None,
        on: int | Collection[int] | None = None,
        after_effect: bool = False,
        phase: Phase = "action",
        saga: type[Saga] | str | None = None,
    ) -> None:
        """The step's attempts raise the error instead of being made. after_effect: the action is called, and raises
        afterwards; where no error is given, it then does not know whether it did (UnknownOutcomeError)."""
        if error is None:
            error = (
                UnknownOutcomeError("the answer was lost") if after_effect else RuntimeError("told to fail")
            )
        self._fault("fail", step, phase, saga, times, on, error=error, applied=after_effect)

    def hang(
        self,
        step: str,
        *,
        times: int | None = None,
        on: int | Collection[int] | None = None,
        after_effect: bool = False,
        phase: Phase = "action",
        saga: type[Saga] | str | None = None,
    ) -> None:
        """The step's attempts do not answer, until they are given up. after_effect: they have done their work all the
        same. A participant gives no reply."""
        self._fault("hang", step, phase, saga, times, on, applied=after_effect)

    def slow(
        self,
        step: str,
        seconds: float,
        *,
        times: int | None = None,
        on: int | Collection[int] | None = None,
        phase: Phase = "action",
        saga: type[Saga] | str | None = None,
    ) -> None:
        """The step's attempts take so long. What takes longer than its time-out is given up, though it was done."""
        self._fault("slow", step, phase, saga, times, on, seconds=seconds, applied=True)

    def crash_during(
        self,
        step: str,
        *,
        times: int | None = 1,
        on: int | Collection[int] | None = None,
        after_effect: bool = False,
        phase: Phase = "action",
        saga: type[Saga] | str | None = None,
    ) -> None:
        """The process dies while the step's attempt is under way: before its effect, or after it."""
        self._fault("crash", step, phase, saga, times, on, applied=after_effect)

    def replace(
        self,
        step: str,
        function: Callable[..., Any],
        *,
        phase: Phase = "action",
        saga: type[Saga] | str | None = None,
    ) -> None:
        """What is called instead of the step's own code: `(ctx)`, of a compensation `(ctx, result)`; async or not."""
        name = self._check_step(step, saga)
        self._engine.faults.stands.append(Stand(step, phase, name, function))

    def participant(self, name: str, handler: Callable[[Request], Any]) -> None:
        """Play another system: the handler is given each Request, async or not, and its answer is the reply; what it
        raises is the failure, as in `sagahook.saga.Participant`."""
        self._engine.participants[name] = Standin(name, handler, self._engine.faults)

    def _fault(
        self,
        how: How,
        step: str,
        phase: Phase,
        saga: type[Saga] | str | None,
        times: int | None,
        on: int | Collection[int] | None,
        **more: Any,
    ) -> None:
        attempts = frozenset({on} if isinstance(on, int) else on) if on is not None else None
        name = self._check_step(step, saga)
        fault = Fault(how, step, phase, saga=name, on=attempts, times=times, **more)
        self._engine.faults.faults.append(fault)

    def _check_step(self, step: str, saga: type[Saga] | str | None) -> str | None:
        """The saga's name. Raises ValueError for a step that none has: the fault would never happen."""
        name = self._known(saga)[0] if saga is not None else None
        definitions = [each for each in self._app.definitions() if name in (None, each.name)]
        steps = {known for each in definitions for known in each.by_name}
        if item_of(step)[0] not in steps and not any(each.code for each in definitions):
            raise ValueError(f"there is no step {step!r}; there are {', '.join(sorted(steps))}")
        return name

    def _known(self, saga: type[Saga] | str) -> tuple[str, int]:
        """Raises ValueError for a saga that is not deployed here."""
        name = saga if isinstance(saga, str) else saga.name
        newest = self._app.newest_of(name)
        if newest is None:
            raise ValueError(f"there is no saga {name!r} here: give it to SagaTest(…)")
        return name, newest.version if isinstance(saga, str) else saga.version
