"""What operators ask for becomes commands in the log, never a write to the views."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sagahook.runtime.acts import Acts, Who
from sagahook.runtime.audit import Audit
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.logging import get_logger
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import SignalSaga
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_tracker.adapters.command_log import CommandLog, Order
from sagahook_tracker.adapters.finding import Finder
from sagahook_tracker.adapters.views import Views
from sagahook_tracker.answers import Answers
from sagahook_tracker.domain.operating import Filter, refusal
from sagahook_tracker.domain.runs import Run

log = get_logger(__name__)

MOST = 10_000
"""Sagas of one bulk act."""

_CHUNK = 500
"""Commands that are on their way to Kafka at once."""

SOURCE = "/sagahook/tracker"

Make = Callable[[Run], Sequence[Contract]]
"""The commands for a run, whether they make sense for it or not."""


class Refused(Exception):
    """Do something else: the saga is not as the command needs it; the text says how it is."""


class NotFound(Exception):
    """Check the id: there is no such saga."""


class TooMany(Exception):
    """Narrow the filter."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A run, and the commands that a bulk act has for it."""

    run: Run
    commands: tuple[Contract, ...]


class Operating:
    """Every method raises Unavailable while PostgreSQL or Kafka is away."""

    def __init__(
        self, answers: Answers, views: Views, finder: Finder, commands: CommandLog, audit: Audit
    ) -> None:
        self._answers = answers
        self._views = views
        self._finder = finder
        self._commands = commands
        self._acts = Acts(audit)

    async def act(self, saga_id: str, who: Who, command: Contract) -> str:
        """The command's id, once the command is durable. Raises NotFound, Refused or Behind."""
        command_id = str(uuid.uuid4())
        facts = {"saga_id": saga_id, "command_id": command_id}
        found = await self._answers.freshest(saga_id)
        if found is None:
            self._acts.refused(who, saga_id, "there is no such saga", **facts)
            raise NotFound(f"There is no saga {saga_id!r}: check the id")
        run = found.run
        why = refusal(command, run, await self._views.definition(run.name, run.version))
        if why is not None:
            self._acts.refused(who, saga_id, why, run=run.run, **facts)
            raise Refused(why)
        try:
            await self._acts.begin(who, saga_id)
            await self._commands.send([_order(command, command_id, run)])
        except Unavailable:
            self._acts.tell(who, "unavailable", run=run.run, **facts)
            raise
        self._acts.tell(who, "accepted", run=run.run, **facts)
        return command_id

    async def select(self, wanted: Filter, make: Make) -> list[Selected]:
        """What a bulk act would do: to those runs which the filter finds and which it makes sense for.
        Raises TooMany."""
        found, more = await self._finder.runs(wanted, MOST)
        if more is not None:
            raise TooMany(f"More than {MOST:,} sagas are found: narrow the filter")
        definitions: dict[tuple[str, int], SagaDefinition | None] = {}
        selected = []
        for run in found:
            key = run.name, run.version
            if key not in definitions:
                definitions[key] = await self._views.definition(*key)
            commands = [each for each in make(run) if refusal(each, run, definitions[key]) is None]
            if commands:
                selected.append(Selected(run, tuple(commands)))
        return selected

    async def act_on_all(self, selected: Sequence[Selected], who: Who) -> str:
        """The bulk act's id, which its commands' ids begin with, once all of them are durable."""
        bulk_id = str(uuid.uuid4())
        await self._acts.begin(who, f"{len(selected)} sagas, by commands {bulk_id}/…")
        done = 0
        for start in range(0, len(selected), _CHUNK):
            part = selected[start : start + _CHUNK]
            try:
                await self._commands.send(_orders(part, bulk_id))
            except Unavailable as away:
                log.warning("operator.interrupted", action=who.action, bulk_id=bulk_id, done=done)
                raise Unavailable(f"{done} of {len(selected)} sagas were told, then: {away}") from away
            done += len(part)
            for one in part:
                self._acts.tell(who, "accepted", saga_id=one.run.saga_id, run=one.run.run, bulk_id=bulk_id)
        return bulk_id


def _orders(part: Sequence[Selected], bulk_id: str) -> list[Order]:
    return [
        _order(command, f"{bulk_id}/{one.run.saga_id}/{number}", one.run)
        for one in part
        for number, command in enumerate(one.commands)
    ]


def _order(command: Contract, command_id: str, run: Run) -> Order:
    """A signal that was given no id has its command's."""
    if isinstance(command, SignalSaga) and not command.signal_id:
        command = command.model_copy(update={"signal_id": command_id})
    envelope = Envelope(
        id=command_id,
        source=SOURCE,
        type=command.ce_type,
        time=datetime.now(UTC),
        subject=run.name,
        correlation_id=run.correlation_id or "",
        saga_id=run.saga_id,
        run=run.run,
    )
    return Order(run.saga_id, envelope, command)
