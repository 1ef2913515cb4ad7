"""Operators pause definitions and sources, and resume them: a record in the log, which the sagas' owners follow."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sagahook.runtime.acts import Acts, Who
from sagahook.runtime.audit import Audit
from sagahook.runtime.batches import Unavailable
from sagahook_schemas.definitions import ControlKind, ControlSet
from sagahook_schemas.envelope import Envelope
from sagahook_tracker.adapters.command_log import CommandLog, Order
from sagahook_tracker.answers import Answers
from sagahook_tracker.operating import SOURCE, NotFound


class Pausing:
    """Every method raises Unavailable while PostgreSQL or Kafka is away. log: of `saga.definitions`."""

    def __init__(self, answers: Answers, log: CommandLog, audit: Audit) -> None:
        self._answers = answers
        self._log = log
        self._acts = Acts(audit)

    async def set(self, kind: ControlKind, name: str, who: Who, *, paused: bool) -> str:
        """The command's id, once it is durable. To say again what holds already changes nothing but who said so.
        Raises NotFound or Behind."""
        command_id = str(uuid.uuid4())
        facts = {"name": name, "command_id": command_id}
        if await self._answers.pausable(kind, name) is None:
            self._acts.refused(who, name, f"there is no such {kind}", **facts)
            raise NotFound(f"No {_CALLED[kind]} {name!r} is deployed: check its name")
        now = datetime.now(UTC)
        control = ControlSet(kind=kind, name=name, paused=paused, actor=who.actor, reason=who.reason, at=now)
        envelope = Envelope(id=command_id, source=SOURCE, type=control.ce_type, time=now, subject=control.key)
        try:
            await self._acts.begin(who, name)
            await self._log.send([Order(control.key, envelope, control)])
        except Unavailable:
            self._acts.tell(who, "unavailable", **facts)
            raise
        self._acts.tell(who, "accepted", **facts)
        return command_id


_CALLED: dict[ControlKind, str] = {"definition": "saga", "source": "saga that wants webhooks of the source"}
