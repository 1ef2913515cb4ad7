"""CloudEvents 1.0 in Kafka binary mode: attributes travel as `ce_*` headers, the value is the data alone.

Source of the mapping: the CloudEvents Kafka protocol binding, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

Header = tuple[str, bytes]

JSON = "application/json"
_SPEC = ("ce_specversion", b"1.0")
_JSON_TYPE = ("content-type", JSON.encode())


class InvalidEnvelope(ValueError):
    """The record's headers are not a CloudEvent: it belongs in the dead-letter topic."""


class Envelope(NamedTuple):
    """The attributes of one record.

    `id` is unique within `source`. `sequence` counts a run's events from 1 without a gap. `epoch` is the
    partition owner's term (it never decreases within a partition). `extensions` holds every further `ce_*`
    attribute by its bare name.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    saga_id: str = ""
    run: int = 0
    sequence: int = 0
    epoch: int = 0
    traceparent: str = ""
    content_type: str = JSON
    extensions: tuple[tuple[str, str], ...] = ()

    def to_headers(self) -> list[Header]:
        headers: list[Header] = [
            _SPEC,
            ("ce_id", self.id.encode()),
            ("ce_source", self.source.encode()),
            ("ce_type", self.type.encode()),
            ("ce_time", rfc3339(self.time).encode()),
            _JSON_TYPE if self.content_type == JSON else ("content-type", self.content_type.encode()),
        ]
        if self.subject:
            headers.append(("ce_subject", self.subject.encode()))
        if self.correlation_id:
            headers.append(("ce_correlationid", self.correlation_id.encode()))
        if self.causation_id:
            headers.append(("ce_causationid", self.causation_id.encode()))
        if self.saga_id:
            headers.append(("ce_sagaid", self.saga_id.encode()))
            headers.append(("ce_sagarun", b"%d" % self.run))
        if self.sequence:
            headers.append(("ce_sequence", b"%d" % self.sequence))
        if self.epoch:
            headers.append(("ce_epoch", b"%d" % self.epoch))
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        for name, value in self.extensions:
            headers.append((f"ce_{name}", value.encode()))
        return headers

    @classmethod
    def from_headers(cls, headers: Iterable[Header]) -> Envelope:
        """Raises InvalidEnvelope where a required attribute is absent or malformed."""
        found = dict(headers)
        try:
            return cls(
                id=found["ce_id"].decode(),
                source=found["ce_source"].decode(),
                type=found["ce_type"].decode(),
                time=parse_rfc3339(found["ce_time"].decode()),
                subject=found.get("ce_subject", b"").decode(),
                correlation_id=found.get("ce_correlationid", b"").decode(),
                causation_id=found.get("ce_causationid", b"").decode(),
                saga_id=found.get("ce_sagaid", b"").decode(),
                run=int(found.get("ce_sagarun", 0)),
                sequence=int(found.get("ce_sequence", 0)),
                epoch=int(found.get("ce_epoch", 0)),
                traceparent=found.get("traceparent", b"").decode(),
                content_type=found.get("content-type", b"application/json").decode(),
                extensions=tuple(
                    (name[3:], value.decode())
                    for name, value in found.items()
                    if name not in _KNOWN and name.startswith("ce_")
                ),
            )
        except KeyError as missing:
            raise InvalidEnvelope(f"the header {missing.args[0]} is missing") from None
        except (ValueError, AttributeError) as invalid:
            raise InvalidEnvelope(f"a header is malformed: {invalid}") from None

    def extension(self, name: str) -> str:
        """The extension's value, or "" where it is absent."""
        return next((value for key, value in self.extensions if key == name), "")


_KNOWN = frozenset(
    {
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_subject",
        "ce_correlationid",
        "ce_causationid",
        "ce_sagaid",
        "ce_sagarun",
        "ce_sequence",
        "ce_epoch",
    }
)


def rfc3339(time: datetime) -> str:
    """UTC with a `Z`, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Raises ValueError where the text is no time or names no zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"the time {text!r} names no zone")
    return time
