"""`SagaTest`: what a test does to its sagas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from orjson import dumps

from sagahook.saga import Saga, SagaApp
from sagahook.testing.engine import Engine
from sagahook.testing.injecting import Injections
from sagahook.testing.process import SETTINGS
from sagahook.testing.records import command_record
from sagahook.testing.run import Run
from sagahook_runner.adapters.records import RouteRecords, Stamp
from sagahook_runner.adapters.triggers import Triggers, Webhook
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
    StartSaga,
)
from sagahook_schemas.identity import saga_id as saga_id_of
from sagahook_schemas.webhooks import received_envelope

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)

SOURCE = "test"
"""Of the sagas that a test starts by itself."""

_ACTOR = "test"
_ROUTE_SECONDS = 10.0

Deployed = type[Saga] | Saga | SagaApp


class Refused(Exception):
    """What was asked of a saga cannot be done now; it changed nothing."""


class Received(NamedTuple):
    """What a webhook led to. outcome: `triggered`, `ignored` or `failed`. reason: why nothing was started."""

    outcome: str
    reason: str | None
    runs: tuple[Run, ...]

    @property
    def run(self) -> Run:
        """The only one. Raises AssertionError."""
        if len(self.runs) != 1:
            raise AssertionError(
                f"the webhook was {self.outcome} and asked for {len(self.runs)} sagas: {self.reason}"
            )
        return self.runs[0]


class SagaTest(Injections):
    """Sagas in memory, on a clock of their own. Every act is awaited, and returns when all has happened that does by
    itself: attempts, retries, sleeps, time-outs. Only the time that a signal is waited for passes by `advance` alone.

    deployed: saga classes, functions under `@saga`, or a SagaApp. auto_advance False: no time passes but by `advance`
    and `settle`. now: what the clock shows at first. An attempt takes 0.1 s of its time.
    """

    def __init__(self, *deployed: Deployed, auto_advance: bool = True, now: datetime = BEGINNING) -> None:
        self._app = _app(deployed)
        self._auto_advance = auto_advance
        self._beginning = now
        self._engine = Engine(self._app, now)
        self._triggers = Triggers(self._app, timeout=_ROUTE_SECONDS)
        self._events = 0
        self._commands = 0

    @property
    def now(self) -> datetime:
        return self._engine.now

    @property
    def runs(self) -> list[Run]:
        """All of them, in the order in which they began."""
        return [self._run(*which) for which in self._engine.log.runs()]

    # -- what starts sagas ------------------------------------------------------------------------------------

    async def start(
        self,
        saga: type[Saga] | str,
        context: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        user_id: str | None = None,
    ) -> Run:
        """Start a saga as one of its triggers would, past all triggers and limits.

        key: its identity; what is started with the same one joins it. By default each is a saga of its own.
        """
        name, version = self._known(saga)
        event_id = self._event_id()
        request = StartSaga(
            name=name,
            version=version,
            source=SOURCE,
            event_id=event_id,
            correlation_id=f"cor-{event_id}",
            context=dict(context or {}),
            user_id=user_id,
        )
        saga_id = saga_id_of(SOURCE, name, key or event_id)
        self._put(saga_id, request, event_id)
        await self._go_on()
        return self._run(saga_id)

    async def receive(
        self, source: str, body: Any, *, event: str = "", event_id: str | None = None, notify_url: str = ""
    ) -> Received:
        """A webhook, through the triggers, with their keys, conditions and limits. body: JSON."""
        event_id = event_id or self._event_id()
        envelope = received_envelope(
            event_id=event_id,
            source=source,
            event_type=event,
            time=self.now,
            correlation_id=f"cor-{event_id}",
            content_type="application/json",
            notify_url=notify_url,
        )
        (route,) = await self._triggers.evaluate([Webhook(envelope, dumps(body))])
        encoder = RouteRecords(SETTINGS, 0, 1, Stamp(self.now))
        for saga_id, request in route.starts:
            self._engine.put(encoder.start(envelope, saga_id, request))
        await self._go_on()
        routed = route.routed
        return Received(
            routed.outcome, routed.reason, tuple(self._run(saga_id) for saga_id, _ in route.starts)
        )

    # -- what operators and others do ---------------------------------------------------------------------------

    async def signal(
        self, run: Run, signal: str, payload: Any = None, *, signal_id: str | None = None
    ) -> None:
        """signal_id: one that was seen is a duplicate. Raises Refused, as all of these do."""
        number = signal_id or f"signal-{self._commands + 1}"
        await self._ask(run, SignalSaga(actor=_ACTOR, signal=signal, signal_id=number, payload=payload))

    async def cancel(self, run: Run, reason: str = "") -> None:
        await self._ask(run, CancelSaga(actor=_ACTOR, reason=reason))

    async def retry(self, run: Run, reason: str = "") -> Run:
        """Go on with a suspended run; run what was rolled back or failed again: that is another run."""
        await self._ask(run, RetrySaga(actor=_ACTOR, reason=reason))
        return self._run(run.saga_id)

    async def resolve(self, run: Run, step: str, how: Literal["retry", "skip", "resolve"]) -> None:
        """What becomes of a compensation that failed for good."""
        await self._ask(run, ResolveCompensation(actor=_ACTOR, step=step, how=how))

    async def migrate(self, run: Run, version: int) -> None:
        await self._ask(run, MigrateSaga(actor=_ACTOR, version=version))

    async def deploy(self, *deployed: Deployed) -> None:
        """Stop the process in order, and go on with these sagas instead of those."""
        self._app = _app(deployed)
        self._triggers = Triggers(self._app, timeout=_ROUTE_SECONDS)
        await self._engine.crash("stopped", self._app)
        await self._go_on()

    async def crash(self) -> None:
        """The process dies with all that it ran, and another one takes over."""
        await self._engine.crash("crash")
        await self._go_on()

    # -- time -------------------------------------------------------------------------------------------------

    async def advance(self, seconds: float = 0.0, **parts: float) -> None:
        """Let so much time pass, also that of somebody who has to give a signal. parts: as of a timedelta."""
        await self._engine.run(self.now + timedelta(seconds=seconds, **parts), patiently=False)
        await self._engine.settle()

    async def settle(self) -> None:
        """Let happen what does by itself, and as much time pass as it takes."""
        await self._engine.run(None, patiently=True)

    # -- what is behind all of these ------------------------------------------------------------------------------

    async def _ask(self, run: Run, command: Contract) -> None:
        self._commands += 1
        command_id = f"command-{self._commands}"
        self._put(run.saga_id, command, command_id)
        await self._go_on()
        for event in self._run(run.saga_id).events:
            if event.kind == "saga.command_refused" and event.data.get("command_id") == command_id:
                raise Refused(event.data["why"])

    def _put(self, saga_id: str, command: Contract, command_id: str) -> None:
        self._engine.put(command_record(saga_id, command, command_id, self.now))

    async def _go_on(self) -> None:
        if self._auto_advance:
            await self._engine.run(None, patiently=True)
        else:
            await self._engine.settle()

    def _event_id(self) -> str:
        self._events += 1
        return f"evt-{self._events}"

    def _run(self, saga_id: str, number: int | None = None) -> Run:
        log = self._engine.log
        return Run(log, saga_id, number or log.newest(saga_id), self._beginning)


def _app(deployed: tuple[Deployed, ...]) -> SagaApp:
    if len(deployed) == 1 and isinstance(deployed[0], SagaApp):
        return deployed[0]
    sagas = [each() if isinstance(each, type) else each for each in deployed if not isinstance(each, SagaApp)]
    if len(sagas) != len(deployed):
        raise TypeError("SagaTest takes saga classes, or one SagaApp")
    return SagaApp(sagas)
