"""The imperative form of a saga: one step after the other, each with what undoes it.

    saga = DistributedSaga("order-7", "user-1")
    await saga.execute_step("reserve", reserve, release)
    await saga.execute_step("charge", lambda: charge(order), lambda: refund(order))
    await saga.commit()

In plain code the same without `await`. In a script it lives in memory; in a function under `@saga` it is
durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal

from sagahook.saga.aborted import SagaAborted
from sagahook.saga.calls import as_action, as_undo
from sagahook.saga.code_context import Seconds, step_definition
from sagahook.saga.errors import PermanentError
from sagahook.saga.journal import Requests, StepFailed, current, running_loop
from sagahook.saga.local import LocalJournal
from sagahook_schemas.definitions import Retry

State = Literal["pending", "executing", "committed", "rolled_back", "failed"]

ONCE = Retry(max=0)

_COMMIT, _ROLLBACK = "saga_commit", "saga_rollback"


class SagaClosed(Exception):
    """The author must act: the saga was committed or rolled back before this was asked of it."""


class RollbackFailed(Exception):
    """Somebody must act: the effects of the `unresolved` steps are left behind. `rollback()` tries them
    again."""

    def __init__(self, saga_id: str, unresolved: dict[str, str]) -> None:
        super().__init__(
            f"the saga {saga_id} could not be rolled back: {', '.join(unresolved)} could not be undone"
        )
        self.unresolved = unresolved


class DistributedSaga:
    """One saga. Its methods are awaited in async code; in plain code they return what they come to.

    parallel_rollback: undo all steps at once instead of one after the other, the last first. timeout: of
    each attempt. retry: of a step; its action is called once by default, as whoever calls it may not expect
    it twice. rollback_retry: of undoing. journal: where to remember, outside a function under `@saga`.

    In a function under `@saga` the run's log remembers, and the engine undoes, when the function has ended,
    the whole run: there one DistributedSaga is used in one function, and `@saga(compensation="parallel")`
    says how to undo.
    """

    def __init__(
        self,
        saga_id: str,
        user_id: str | None = None,
        parallel_rollback: bool = False,
        *,
        timeout: Seconds | None = None,
        retry: Retry = ONCE,
        rollback_retry: Retry | None = None,
        journal: LocalJournal | None = None,
    ) -> None:
        self.saga_id = saga_id
        self.user_id = user_id
        self.state: State = "pending"
        self.failed_at: str | None = None
        self.error: str | None = None
        self._options = {
            "timeout": timeout,
            "retry": retry,
            "undo_timeout": timeout,
            "undo_retry": rollback_retry,
        }
        self._names: list[str] = []
        self._done: list[str] = []
        self._unresolved: dict[str, str] = {}
        self._given = journal
        self._parallel = parallel_rollback
        self._local: LocalJournal | None = None
        self._own: Requests | None = None

    def execute_step(
        self,
        name: str,
        action: Callable[..., Any],
        rollback: Callable[..., Any] | None = None,
        *,
        timeout: Seconds | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """The action's result. Where it fails for good, what was done before is undone first, and
        SagaAborted is raised from the action's error. rollback None: there is nothing to undo.

        Both are plain or async; see sagahook/saga/calls.py for what they are given. Raises SagaClosed after
        a commit or a rollback, DefinitionError for a name that was used before: then nothing is called, and
        nothing undone.
        """
        return self._come_to(self._execute(name, action, rollback, timeout=timeout, retry=retry))

    def commit(self) -> Any:
        """What was done is to stay: nothing of it is undone any more. A second time it changes nothing.
        Raises SagaClosed after a rollback."""
        return self._come_to(self._commit())

    def rollback(self) -> Any:
        """Undo what was done, the last first. A second time it tries what could not be undone. Raises
        RollbackFailed where something still cannot; SagaClosed after a commit."""
        return self._come_to(self._roll_back())

    def get_status(self) -> dict[str, Any]:
        """completed_steps: how many were done; they still count when they are undone. failed_at: the step's
        name. error: `Type: message`. In a function under `@saga` undoing begins when it has ended, so that
        it only sees that the saga `failed`."""
        return {
            "saga_id": self.saga_id,
            "user_id": self.user_id,
            "state": self.state,
            "total_steps": len(self._names),
            "completed_steps": len(self._done),
            "failed_at": self.failed_at,
            "error": self.error,
        }

    async def __aenter__(self) -> DistributedSaga:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    def __enter__(self) -> DistributedSaga:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if running_loop() is not None:
            raise TypeError("in async code a DistributedSaga is used with `async with`")
        self._come_to(self._leave(error))

    async def _leave(self, error: BaseException | None) -> None:
        """An error passes as it is, whatever becomes of undoing. What was left open without one is
        committed."""
        if self.state not in ("pending", "executing"):
            return
        if error is None:
            await self._commit()
            return
        self.error = self.error or f"{type(error).__name__}: {error}"
        try:
            await self._roll_back()
        except RollbackFailed as left:
            error.add_note(str(left))

    async def _execute(
        self, name: str, action: Callable[..., Any], rollback: Callable[..., Any] | None, **options: Any
    ) -> Any:
        self._check_open(f"execute the step {name!r}")
        given = {key: value for key, value in options.items() if value is not None}
        definition = step_definition(name, undoable=rollback is not None, **{**self._options, **given})
        call, undo = as_action(name, action), as_undo(name, rollback)
        self.state = "executing"
        try:
            asked = self._requests().answer(definition, call, undo)
            self._names.append(name)
            result = await asked
        except StepFailed as failed:
            raise await self._abort(name, failed) from (failed.__cause__ or failed)
        except Exception:
            self._names.remove(name)  # it was refused, not tried
            raise
        self._done.append(name)
        return result

    async def _abort(self, name: str, failed: StepFailed) -> SagaAborted:
        if self.failed_at is None:
            self.failed_at, self.error, self.state = failed.step, failed.error, "failed"
        # Of several at once, the one that failed first undoes.
        if self._local is not None and failed.step == name:
            self._unresolved = await self._local.undo()
            self.state = "failed" if self._unresolved else "rolled_back"
        return SagaAborted(self.saga_id, failed.step, failed.error, self._unresolved)

    async def _commit(self) -> None:
        if self.state == "committed":
            return
        self._check_open("commit")
        requests = self._requests()
        if self._local is None:
            # In the log a commit is a step past which nothing is undone.
            definition = step_definition(_COMMIT, kind="quick", pivot=True)
            await requests.answer(definition, as_action(_COMMIT, lambda: None))
        self.state = "committed"

    async def _roll_back(self) -> None:
        if self.state == "committed":
            self._check_open("roll back")
        if self.state == "rolled_back":
            return
        requests = self._requests()
        if self._local is not None:
            self._unresolved = await self._local.undo()
        elif self.state != "failed":
            await _order_rollback(requests, self.error or "rolled back by the function")
        self.state = (
            "failed" if self._unresolved or (self._local is None and self.failed_at) else "rolled_back"
        )
        if self._unresolved:
            raise RollbackFailed(self.saga_id, self._unresolved)

    def _check_open(self, what: str) -> None:
        if self.state not in ("pending", "executing"):
            said = {"committed": "committed", "rolled_back": "rolled back"}.get(self.state, "failed")
            raise SagaClosed(f"the saga {self.saga_id} is {said}: it cannot {what} any more")

    def _requests(self) -> Requests:
        """Those of the function that this is used in; else those of a journal of its own, from the first
        use on."""
        hosted = current.get()
        if hosted is not None and self._own is None:
            return hosted
        if self._own is None:
            self._local = self._given or LocalJournal(saga_id=self.saga_id, json_only=False)
            self._local.parallel = self._local.parallel or self._parallel
            self._own = Requests(self._local)
        return self._own

    def _come_to(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Awaitable in async code; in plain code what it comes to, on the loop of the function that this is
        part of, or on one of its own for this call."""
        hosted = current.get() if self._own is None else None
        if hosted is not None:
            return hosted.come_to(work)
        if running_loop() is not None:
            return work
        self._requests()
        if self._local is not None:
            self._local.inline = True  # connections and the like belong to the thread that made them
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(work)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def _order_rollback(requests: Requests, why: str) -> None:
    """In the log a rollback is a step that fails for good, so that it is one after a crash too."""

    def call_off() -> None:
        raise PermanentError(why)

    try:
        await requests.answer(
            step_definition(_ROLLBACK, kind="quick", retry=ONCE), as_action(_ROLLBACK, call_off)
        )
    except StepFailed:
        return
