"""The journal of a saga that lives in one process, without Kafka. What a crash interrupts is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sagahook.saga.aborted import SagaAborted
from sagahook.saga.attempts import attempts, is_unknown, timed
from sagahook.saga.calls import settled
from sagahook.saga.code_context import CodeContext
from sagahook.saga.context import Continue
from sagahook.saga.errors import DefinitionError
from sagahook.saga.journal import (
    ActionCall,
    CodeFirst,
    OrderChanged,
    Requests,
    StepFailed,
    UndoCall,
    again,
    play,
)
from sagahook.saga.local_signals import Signals
from sagahook.saga.local_steps import LocalStep, check_same, child_asked_for, seconds_until, step_context
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import child_id
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import kept, told

ERROR_LIMIT = 2_000
"""Characters of an error's text."""


class LocalJournal:
    """The results of one run, in memory.

    sleep: how to wait for so many seconds. dice: jitter, uniform in [0, 1). now: the time, for `until`.
    parallel: undo all at once instead of one after the other. json_only: results as a log would keep them
    (False: whatever the actions return). inline: plain functions in the caller's own thread, where a
    time-out cannot cut them off. sagas: what `child` may run. Heartbeats are not watched.
    """

    def __init__(
        self,
        *,
        saga: str = "local",
        saga_id: str = "local",
        correlation_id: str = "",
        context: Mapping[str, JsonValue] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        parallel: bool = False,
        json_only: bool = True,
        inline: bool = False,
        sagas: Iterable[CodeFirst] = (),
    ) -> None:
        self.saga = saga
        self.saga_id = saga_id
        self.correlation_id = correlation_id
        self.context: Mapping[str, JsonValue] = context or {}
        self.parallel = parallel
        self.inline = inline
        self._sleep, self._dice, self._now, self._json_only = sleep, dice, now, json_only
        self._sagas = {each.name: each for each in sagas}
        self._steps: dict[int, LocalStep] = {}
        self._failed: StepFailed | None = None
        self._signals = Signals()
        self._under_way: set[asyncio.Future[None]] = set()
        self._pauses: set[asyncio.Future[Any]] = set()

    @property
    def completed(self) -> tuple[str, ...]:
        """The steps that are done and not undone, in the order of asking."""
        return tuple(each.definition.name for each in self._in_order() if each.state == "completed")

    @property
    def undone(self) -> tuple[str, ...]:
        return tuple(each.definition.name for each in self._in_order() if each.state == "undone")

    @property
    def is_past_pivot(self) -> bool:
        """Whether nothing may be undone any more. A pivot of unknown outcome may have been passed."""
        pivots = (each for each in self._steps.values() if each.definition.pivot)
        return any(each.state in ("completed", "unknown") for each in pivots)

    def signal(self, name: str, payload: JsonValue = None) -> None:
        """Tell the run something: the first step that waits for it, or will, takes it. Call it on the loop."""
        self._signals.tell(name, payload)

    async def request(
        self,
        number: int,
        definition: StepDefinition,
        action: ActionCall | None,
        compensation: UndoCall | None,
        arguments: JsonValue,
    ) -> JsonValue:
        """See `Journal`."""
        if self._failed is not None:
            raise again(self._failed)
        step = self._steps.get(number)
        if step is None:
            step = self._steps[number] = LocalStep(definition, compensation)
        check_same(number, step.definition, definition)
        step.definition, step.compensation = definition, compensation
        if step.state != "completed":
            await self._carry_out(step, action, arguments)
        if self._failed is not None:  # another one failed meanwhile
            raise again(self._failed)
        return step.result  # type: ignore[no-any-return]

    async def undo(self) -> dict[str, str]:
        """Undo what was done, when everything under way has ended. Nothing past a pivot. What failed is
        tried again by the next call. Returns the names of those whose effects are left behind, in the order
        of undoing, each with the error of undoing it."""
        self._fail(StepFailed("", "the saga is being undone"))
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self.is_past_pivot:
            return {}
        todo = [each for each in reversed(self._in_order()) if each.is_to_undo]
        if self.parallel:
            await asyncio.gather(*map(self._undo_one, todo))
        else:
            for step in todo:
                await self._undo_one(step)
        return {each.definition.name: each.undo_error for each in todo if each.is_to_undo}

    async def run(self, saga: CodeFirst) -> Any:
        """Play the saga's function to its end, or undo what it did. Returns its result. Raises SagaAborted;
        OrderChanged, where the journal was used before, with another function."""
        requests = Requests(self, asyncio.get_running_loop())
        ctx = CodeContext(
            requests,
            saga=self.saga,
            saga_id=self.saga_id,
            correlation_id=self.correlation_id,
            context=self.context,
        )
        deadline = asyncio.timeout(saga.definition.deadline)
        try:
            async with deadline:
                return self._kept(await play(saga.function, requests, ctx, dict(self.context)))
        except OrderChanged:
            raise  # somebody must look at it: nothing is guessed, and nothing undone
        except Exception as raised:
            if deadline.expired():
                requests.stop()
            late = TimeoutError(f"the saga took longer than {saga.definition.deadline or 0:g} s")
            error = late if deadline.expired() else raised
            raise await self._abort(requests, error) from (error.__cause__ or error)
        except BaseException:
            requests.stop()
            await self.undo()
            raise

    async def _abort(self, requests: Requests, raised: Exception) -> SagaAborted:
        failed = raised if isinstance(raised, StepFailed) else StepFailed("", told(raised, ERROR_LIMIT))
        self._fail(failed)
        # A plain function may still run in its thread: it gets nothing any more.
        requests.stopped = requests.stopped or failed
        unresolved = await self.undo()
        text = f"{failed.error} (past the pivot: nothing was undone)" if self.is_past_pivot else failed.error
        return SagaAborted(self.saga_id, failed.step, text, unresolved)

    def _in_order(self) -> list[LocalStep]:
        return [step for _, step in sorted(self._steps.items())]

    async def _carry_out(self, step: LocalStep, action: ActionCall | None, arguments: JsonValue) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        deadline = asyncio.timeout(step.definition.deadline)
        try:
            async with deadline:
                step.result = await self._do(step, action, arguments)
            step.state = "completed"
        except Exception as raised:
            if step.state == "begun":
                step.state = "failed"
            late = TimeoutError(f"not done within {step.definition.deadline or 0:g} s")
            error = late if deadline.expired() else raised
            failed = StepFailed(step.definition.name, told(error, ERROR_LIMIT))
            failed.__cause__ = error
            first = self._fail(failed)
            raise again(first) from first.__cause__
        finally:
            self._under_way.discard(ended)
            ended.set_result(None)

    def _fail(self, failed: StepFailed) -> StepFailed:
        """Nothing begins any more, and only actions are waited for. Returns what failed first."""
        if self._failed is None:
            self._failed = failed
            for pause in self._pauses:
                pause.cancel()
            for step in self._steps.values():
                if step.child is not None and step.state != "completed":
                    step.child._fail(StepFailed("", f"the saga that it is part of ended: {failed.error}"))
        return self._failed

    async def _pause(self, seconds: float) -> None:
        await self._until_failed(self._sleep(seconds))

    async def _until_failed(self, waiting: Awaitable[Any]) -> Any:
        pause = asyncio.ensure_future(waiting)
        self._pauses.add(pause)
        try:
            return await pause
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._failed is None or (task is not None and task.cancelling()):
                raise
            raise again(self._failed) from None
        finally:
            self._pauses.discard(pause)

    async def _do(self, step: LocalStep, action: ActionCall | None, arguments: JsonValue) -> Any:
        match step.definition.does:
            case "action" if action is not None:
                return await self._act(step, action)
            case "sleep":
                return await self._pause(seconds_until(arguments, self._now))
            case "signal":
                return await self._until_failed(self._signals.taken(step.definition))
            case "child" if isinstance(arguments, dict):
                return await self._run_child(step, arguments)
        raise DefinitionError(
            f"a step that does {step.definition.does!r} needs the engine: it cannot run in-process"
        )

    async def _act(self, step: LocalStep, action: ActionCall) -> Any:
        definition = step.definition

        async def attempt(number: int, carry: JsonValue) -> Any:
            before, step.state = step.state, "unknown"
            context = step_context(self, self._in_order(), definition.name, "action", number, carry)
            try:
                result = await timed(lambda: settled(action, context, inline=self.inline), definition.timeout)
            except Exception as raised:
                # What an earlier attempt left unknown, a later one that failed does not make known.
                step.state = "unknown" if before == "unknown" or is_unknown(raised) else "begun"
                raise
            # What is to go on has done something already, for all we know: it stays unknown until it is done.
            return result if isinstance(result, Continue) else self._kept(result)

        return await attempts(attempt, definition.retry, self._pause, self._dice)

    async def _undo_one(self, step: LocalStep) -> None:
        if step.child is not None:
            left = await step.child.undo()
            if step.child.is_past_pivot:
                step.undo_error = "it is past its pivot"
            elif left:
                step.undo_error = "; ".join(f"{each}: {error}" for each, error in left.items())
            else:
                step.state = "undone"
            return
        undo, terms, name = step.compensation, step.definition.compensation, step.definition.name
        if undo is None or terms is None:
            return

        async def attempt(number: int, carry: JsonValue) -> Any:
            context = step_context(self, self._in_order(), name, "compensation", number, carry)
            result = step.result if completed else None
            return await timed(lambda: settled(undo, context, result, inline=self.inline), terms.timeout)

        completed = step.state == "completed"
        try:
            await attempts(attempt, terms.retry, self._sleep, self._dice)
        except Exception as raised:
            step.undo_error = told(raised, ERROR_LIMIT)
            return
        step.state = "undone"

    async def _run_child(self, step: LocalStep, arguments: dict[str, JsonValue]) -> Any:
        saga, context = child_asked_for(step.definition.name, arguments, self._sagas)
        step.child = step.child or LocalJournal(
            saga=saga.name,
            saga_id=child_id(self.saga_id, 1, step.definition.name),
            correlation_id=self.correlation_id,
            context=context,
            sleep=self._sleep,
            dice=self._dice,
            now=self._now,
            parallel=saga.definition.compensation == "parallel",
            inline=self.inline,
            sagas=self._sagas.values(),
        )
        step.child._signals = self._signals
        step.state = "unknown"  # it undoes itself where it fails; what it leaves behind then is this step's
        return await step.child.run(saga)

    def _kept(self, result: Any) -> Any:
        return kept(result, CONTEXT_LIMIT) if self._json_only else result
