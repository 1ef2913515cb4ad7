"""What is known of single webhooks, and how one is processed again."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from orjson import JSONDecodeError, loads

from sagahook.runtime.acts import Acts, Who
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.ids import new_event_id
from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import ReprocessWebhook
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from sagahook_tracker.adapters.command_log import CommandLog, Order
from sagahook_tracker.adapters.event_reading import EventFilter, EventReading, EventRow, WholeEvent
from sagahook_tracker.adapters.records_at import RecordsAt
from sagahook_tracker.answers import Answers
from sagahook_tracker.domain.positions import Position
from sagahook_tracker.domain.timeline import Place
from sagahook_tracker.operating import SOURCE, Refused

Encoding = Literal["json", "text", "base64"]

_GONE = "the log does not have it any more"


@dataclass(frozen=True, slots=True)
class RawBody:
    """missing: why there is none, else None."""

    payload: JsonValue
    encoding: Encoding | None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Reprocessing:
    """task_id: of its first saga; where it had none, its event id, which stands for those to come."""

    event_id: str
    task_id: str
    command_id: str


class Events:
    """Every method raises Unavailable while PostgreSQL or Kafka is away, unless it says otherwise."""

    def __init__(
        self, answers: Answers, reading: EventReading, records: RecordsAt, commands: CommandLog, acts: Acts
    ) -> None:
        self._answers = answers
        self._reading = reading
        self._records = records
        self._commands = commands
        self._acts = acts

    async def page(
        self, wanted: EventFilter, how_many: int, skip: int, after: Position | None
    ) -> tuple[list[EventRow], Position | None]:
        """The newest first, and where to go on, None at the end."""
        return await self._reading.page(wanted, how_many, skip, after)

    async def one(self, id: str) -> WholeEvent | None:
        """By its event id or its number in digits. Raises Behind."""
        found = await self._reading.one(id)
        if found is None:
            await self._answers.catch_up_events()
            found = await self._reading.one(id)
        return found

    async def body(self, event: WholeEvent) -> RawBody:
        """From the log; where Kafka is away it is missing for now."""
        place = Place.of(WEBHOOKS_RECEIVED.base, event.number)
        try:
            record = (await self._records.read([place])).get(place)
        except Unavailable as away:
            return RawBody(None, None, str(away))
        if record is None or record.value is None:
            return RawBody(None, None, _GONE)
        return read_body(record.value)

    async def reprocess(self, id: str, who: Who) -> Reprocessing | None:
        """Once the command is durable; None where there is no such event. Raises Refused or Behind."""
        event = await self.one(id)
        if event is None:
            self._acts.refused(who, id, "there is no such event")
            return None
        if not event.processed:
            why = "The event is still being processed: wait until it is, or retry its sagas where they are suspended"
            self._acts.refused(who, event.event_id, why)
            raise Refused(why)
        command_id = new_event_id()
        facts = {"event_id": event.event_id, "command_id": command_id}
        try:
            await self._acts.begin(who, event.event_id)
            await self._commands.send([_order(event, command_id, who)])
        except Unavailable:
            self._acts.tell(who, "unavailable", **facts)
            raise
        self._acts.tell(who, "accepted", **facts)
        task_id = event.sagas[0].saga_id if event.sagas else event.event_id
        return Reprocessing(event.event_id, task_id, command_id)


def read_body(raw: bytes) -> RawBody:
    """As what it reads as; what its sender said that it is counts for nothing."""
    try:
        return RawBody(loads(raw), "json")
    except JSONDecodeError:
        pass
    try:
        return RawBody(raw.decode(), "text")
    except UnicodeDecodeError:
        return RawBody(b64encode(raw).decode(), "base64")


def _order(event: WholeEvent, command_id: str, who: Who) -> Order:
    place = Place.of(WEBHOOKS_RECEIVED.base, event.number)
    command = ReprocessWebhook(
        event_id=event.event_id, offset=place.offset, actor=who.actor, reason=who.reason
    )
    envelope = Envelope(
        id=command_id,
        source=SOURCE,
        type=command.ce_type,
        time=datetime.now(UTC),
        subject=event.event_id,
        correlation_id=event.correlation_id,
        extensions=(("webhooksource", event.source),),
    )
    return Order(event.event_id, envelope, command, partition=place.partition)
