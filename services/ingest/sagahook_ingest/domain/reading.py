"""From a request that its source's sender signed to the webhook, or the webhooks, that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sagahook_ingest.domain import body as bodies
from sagahook_ingest.domain import cloudevents
from sagahook_ingest.domain.cloudevents import CloudEvent
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.slices import elements
from sagahook_ingest.domain.sources import KnownSource
from sagahook_ingest.domain.webhook import OnceOnly, Webhook
from sagahook_schemas.base import JsonValue
from sagahook_schemas.bodies import CLOUD_EVENT, CLOUD_EVENTS, FORM, media_type
from sagahook_schemas.envelope import JSON


@dataclass(slots=True)
class Request:
    """What was checked already: who sends it, and the forms of its headers.

    headers: those that are read; all_headers: as they came. correlation_id: the sender's, else "". traceparent: the
    sender's until the request has a span, "" where there is none. time: when it was there as a whole.
    """

    source: KnownSource
    headers: Headers
    all_headers: Sequence[tuple[bytes, bytes]]
    correlation_id: str
    content_type: str
    notify_url: str
    traceparent: str
    time: datetime = datetime.min
    body: bytes = b""
    _recorded: bytes | None = None

    @property
    def recorded_headers(self) -> bytes:
        """What the log keeps of them: the same for all events of a batch."""
        if self._recorded is None:
            self._recorded = self.source.recorder.record(self.all_headers)
        return self._recorded

    @property
    def is_batch_of_events(self) -> bool:
        return self.content_type is not JSON and media_type(self.content_type) == CLOUD_EVENTS


@dataclass(slots=True)
class Event:
    """What triggers are given of a body, and how the body lies in the log."""

    value: JsonValue
    content_type: str
    told: CloudEvent | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One element of a batch, byte for byte. value: parsed; content_type: what it is by itself."""

    index: int
    body: bytes
    value: JsonValue
    content_type: str


def read_event(request: Request) -> Event:
    """The body as one event. Raises Refusal."""
    content_type = request.content_type
    if cloudevents.VERSION_HEADER in request.headers or (
        content_type is not JSON and cloudevents.is_cloud_event(content_type, request.headers)
    ):
        mode = cloudevents.mode_of(content_type)
        parsed = bodies.parse(request.body)
        if mode == "binary":
            return Event(parsed, content_type, cloudevents.from_headers(request.all_headers, content_type))
        if mode == CLOUD_EVENTS:
            raise Refusal(415, "A batch of events is not taken here: send them one by one")
        told, data = cloudevents.from_document(parsed)
        return Event(data, content_type, told)
    value = bodies.read(request.body, content_type, forms=request.source.takes_forms)
    if content_type is not JSON and not request.source.takes_forms and media_type(content_type) == FORM:
        content_type = JSON  # as which it was read, and is to be read again
    return Event(value, content_type)


def webhook_of(request: Request, event: Event, correlation_id: str) -> Webhook:
    """Raises Refusal."""
    return _webhook(request, event, request.body, correlation_id)


def read_items(request: Request, limit: int) -> list[Item]:
    """The elements of a batch, each still to be checked. limit: the most that it may have. Raises Refusal."""
    events = request.is_batch_of_events
    if not events and cloudevents.is_cloud_event(request.content_type, request.headers):
        raise Refusal(415, f"A batch is a JSON array of events: send it as {JSON} or {CLOUD_EVENTS}")
    parsed = bodies.parse(request.body)
    if not isinstance(parsed, list):
        raise Refusal(400, "A batch is a JSON array of events")
    if len(parsed) > limit:
        raise Refusal(
            413, f"The batch has {len(parsed)} events, and {limit} are the most: send several batches"
        )
    content_type = CLOUD_EVENT if events else JSON
    slices = elements(request.body)
    return [
        Item(index, body, value, content_type)
        for index, (body, value) in enumerate(zip(slices, parsed, strict=True))
    ]


def webhook_of_item(request: Request, item: Item, correlation_id: str) -> Webhook:
    """Raises Refusal."""
    told, value = None, item.value
    if item.content_type == CLOUD_EVENT:
        told, value = cloudevents.from_document(value)
    return _webhook(
        request, Event(value, item.content_type, told), item.body, correlation_id, f"/{item.index}"
    )


def _webhook(request: Request, event: Event, body: bytes, correlation_id: str, part: str = "") -> Webhook:
    source = request.source
    event_type, delivery_id, key = source.fields.identify(request.headers, event.value, event.told, part)
    if source.rules:
        source.check_identity(event_type, event.value)
    once: tuple[OnceOnly, ...] = ()
    if key is not None:
        once = (OnceOnly.of_key(source.name, key, body),)
    if delivery_id:
        once = (*once, OnceOnly.of_delivery(source.name, delivery_id))
    return Webhook(
        source=source.name,
        event_type=event_type,
        time=request.time,
        correlation_id=correlation_id,
        content_type=event.content_type,
        body=body,
        once=once,
        delivery_id=delivery_id,
        cloud_event=event.told.attributes if event.told else "",
        notify_url=request.notify_url,
        traceparent=request.traceparent,
        http_headers=request.recorded_headers,
        subject=None if source.subject_path is None else source.subject(event.value),
    )
