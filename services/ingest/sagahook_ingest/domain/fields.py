"""Which event a webhook is, which delivery of it, and under which key: where its source has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from sagahook.runtime.sources import Source
from sagahook_ingest.domain import body as bodies
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.cloudevents import CloudEvent
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.signatures import DEFAULT_FIELDS, Fields
from sagahook_schemas.base import JsonValue
from sagahook_schemas.paths import MISSING, identity_value, lookup

_ID_LIMIT = 255
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}\Z")
_ALIASES = {b"webhook-id": b"svix-id"}
"""Svix sends Standard Webhooks under names of its own."""


@dataclass(frozen=True, slots=True)
class Where:
    """A header, by its lower-case name, or a field of the body; the other of the two is empty."""

    header: bytes
    path: str

    @classmethod
    def of(cls, written: str) -> Where:
        """written: `header:X-Name` or `body:path`."""
        kind, _, name = written.partition(":")
        return cls(name.lower().encode(), "") if kind == "header" else cls(b"", name)

    @property
    def names(self) -> frozenset[bytes]:
        """The headers that it is read from."""
        return frozenset({self.header, _ALIASES.get(self.header, self.header)} if self.header else ())

    def __str__(self) -> str:
        return f"header {self.header.decode()}" if self.header else f"field {self.path!r}"

    def text(self, headers: Headers, event: JsonValue) -> str | None:
        """None where it is absent or null. Raises Refusal where it is no scalar."""
        if self.header:
            value = headers.get(self.header)
            if value is None and self.header in _ALIASES:
                value = headers.get(_ALIASES[self.header])
            return None if value is None else value.decode("latin-1")
        found = lookup(event, self.path)
        if found is MISSING:
            return None
        text = identity_value(found)
        if text is None:
            raise Refusal(400, f"The {self} must be a string, a boolean or a number that needs no rounding")
        return text


class Identified(NamedTuple):
    """event_type and delivery_id: "" where there is none. idempotency_key: as it was given."""

    event_type: str
    delivery_id: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class FieldRules:
    """Where a source's requests say what they are.

    event_type, delivery_id, idempotency_key: None for what everyone may use. vendor_type: where the scheme's vendor
    has the event type; where it is absent, the body's own word counts, which is signed, and no header. must_deliver:
    the delivery id was configured, so that a request without one is refused and the guard against replays cannot be
    passed by leaving it out. usual: all of it is where everyone may have it.
    """

    event_type: Where | None = None
    vendor_type: Where | None = None
    delivery_id: Where | None = None
    idempotency_key: Where | None = None
    must_deliver: bool = False
    usual: bool = True

    @classmethod
    def of(cls, source: Source) -> FieldRules:
        usual = DEFAULT_FIELDS[source.scheme]
        named = (source.event_type, source.delivery_id, source.idempotency_key)
        return cls(
            event_type=_where(source.event_type),
            vendor_type=_where(usual.event_type),
            delivery_id=_where(source.delivery_id or usual.delivery_id),
            idempotency_key=_where(source.idempotency_key or usual.idempotency_key),
            must_deliver=source.delivery_id is not None,
            usual=usual == Fields() and not any(named),
        )

    @property
    def reads(self) -> frozenset[bytes]:
        """The lower-case names of the headers that are needed."""
        each = (self.event_type, self.vendor_type, self.delivery_id, self.idempotency_key)
        return frozenset().union(*(where.names for where in each if where is not None))

    def identify(
        self, headers: Headers, event: JsonValue, told: CloudEvent | None = None, part: str = ""
    ) -> Identified:
        """told: what a CloudEvent says of itself. part: of a batch, which shares its headers, names the item.
        Raises Refusal."""
        if self.usual and told is None and not part:
            given = requested.event_type(headers) if b"x-event-type" in headers else None
            return Identified(
                bodies.event_type(event) if given is None else given,
                "",
                requested.idempotency_key(headers) if b"idempotency-key" in headers else None,
            )
        return Identified(
            self._event_type(headers, event, told),
            self._delivery_id(headers, event, told, part),
            self._idempotency_key(headers, event, part),
        )

    def _event_type(self, headers: Headers, event: JsonValue, told: CloudEvent | None) -> str:
        if self.event_type is not None:
            return _checked_type(self.event_type, self.event_type.text(headers, event))
        if told is not None:
            return told.type
        if self.vendor_type is not None:
            given = self.vendor_type.text(headers, event)
            if given is not None:
                return _checked_type(self.vendor_type, given)
        else:
            given = requested.event_type(headers)
            if given is not None:
                return given
        return bodies.event_type(event)

    def _delivery_id(self, headers: Headers, event: JsonValue, told: CloudEvent | None, part: str) -> str:
        if told is not None and not self.must_deliver:
            return told.delivery_id
        if self.delivery_id is None:
            return ""
        given = self.delivery_id.text(headers, event)
        if given is None and not self.must_deliver:
            return ""
        if not given or not _VISIBLE.match(given):
            raise Refusal(
                400,
                f"The {self.delivery_id} is this source's delivery id: it must be there, with 1 to {_ID_LIMIT} visible "
                "ASCII characters",
            )
        return given + part if self.delivery_id.header else given

    def _idempotency_key(self, headers: Headers, event: JsonValue, part: str) -> str | None:
        where = self.idempotency_key
        named = None if where is None else where.text(headers, event)
        if where is not None and named is not None:
            return requested.checked_key(named, str(where)) + (part if where.header else "")
        given = requested.idempotency_key(headers)
        return None if given is None else given + part


def _where(written: str | None) -> Where | None:
    return None if written is None else Where.of(written)


def _checked_type(where: Where, given: str | None) -> str:
    if given is None:
        return ""
    if not 0 < len(given) <= _ID_LIMIT or not given.isprintable():
        raise Refusal(
            400,
            f"The {where} is the event type: it must be 1 to {_ID_LIMIT} printable characters, or left out",
        )
    return given


EVERYONES = FieldRules()
