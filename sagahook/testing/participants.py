"""Other systems that do steps, as a test plays them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sagahook.runtime.transactions import OutRecord
from sagahook.saga.calls import settled
from sagahook.saga.participant_handling import Handlers, Request
from sagahook.saga.participant_inbox import MemoryInbox
from sagahook.testing.faults import NAP, Attempted, Fault, Faults
from sagahook.testing.process import SETTINGS
from sagahook.testing.records import as_consumed
from sagahook_runner.adapters.participants import completion
from sagahook_runner.adapters.records import Stamp
from sagahook_schemas.codec import decode
from sagahook_schemas.participants import ParticipantReplied, ParticipantRequested

_PATIENCE = 30.0
"""Seconds, by the real clock, that a handler may take."""


class Standin:
    """One participant: the kit that Python ones are written with, around the test's handler. That is given each
    request for an action or a compensation that was not answered before."""

    def __init__(self, name: str, handler: Callable[[Request], Any], faults: Faults) -> None:
        self.name = name
        self._handler = handler
        self._faults = faults
        self._fault: Fault | None = None
        self._known: set[tuple[str, str]] = set()
        self._handlers = Handlers(name, MemoryInbox(), lambda: datetime.max)

    async def ask(self, record: OutRecord) -> tuple[float, ParticipantReplied] | None:
        """Its reply, after so many seconds; None: it gives none."""
        envelope, requested = decode(record.headers, record.value)
        if not isinstance(requested, ParticipantRequested):
            raise AssertionError(f"a participant was asked a {requested.ce_type}")
        request = Request.of(envelope, requested)
        which = Attempted(request.saga, request.step, request.phase, request.attempt)
        fault = self._fault = self._faults.take(which)
        silent = fault is not None and fault.how in ("hang", "crash")
        if silent and fault is not None and not fault.applied:
            return None
        if (request.step, request.phase) not in self._known:
            self._known.add((request.step, request.phase))
            self._handlers.add(request.step, request.phase, self._handle)
        reply = await self._handlers.handle(request, _PATIENCE)
        if silent:
            return None
        took = fault.seconds if fault is not None and fault.how == "slow" else NAP
        return took, reply.model_copy(update={"duration_ms": round(took * 1000)})

    async def _handle(self, request: Request) -> Any:
        fault = self._fault if self._fault is not None and self._fault.how == "fail" else None
        answer = await settled(self._handler, request) if fault is None or fault.applied else None
        if fault is not None:
            raise fault.raised()
        return answer


def command_of(reply: ParticipantReplied, now: datetime) -> OutRecord:
    """What the reply asks of the saga's owner."""
    record = OutRecord("test.saga.replies", 0, b"", reply.to_json(), [], int(now.timestamp() * 1000))
    return completion(SETTINGS, as_consumed(record, 0), 1, Stamp(now))
