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
        take = found.pop
        try:
            # In the order of the fields: every record that is read pays for this.
            return cls(
                take("ce_id").decode(),
                take("ce_source").decode(),
                take("ce_type").decode(),
                parse_rfc3339(take("ce_time").decode()),
                take("ce_subject", b"").decode(),
                take("ce_correlationid", b"").decode(),
                take("ce_causationid", b"").decode(),
                take("ce_sagaid", b"").decode(),
                int(take("ce_sagarun", 0)),
                int(take("ce_sequence", 0)),
                int(take("ce_epoch", 0)),
                take("traceparent", b"").decode(),
                take("content-type", _JSON_TYPE[1]).decode(),
                _extensions(found),
            )
        except KeyError as missing:
            raise InvalidEnvelope(f"the header {missing.args[0]} is missing") from None
        except (ValueError, AttributeError) as invalid:
            raise InvalidEnvelope(f"a header is malformed: {invalid}") from None

    def extension(self, name: str) -> str:
        """The extension's value, or "" where it is absent."""
        return next((value for key, value in self.extensions if key == name), "")


def _extensions(left: dict[str, bytes]) -> tuple[tuple[str, str], ...]:
    """left: the headers without those of the envelope's own attributes, but for the version of the specification."""
    if len(left) == 1 and "ce_specversion" in left:
        return ()
    return tuple(
        (name[3:], value.decode())
        for name, value in left.items()
        if name.startswith("ce_") and name != "ce_specversion"
    )


def rfc3339(time: datetime) -> str:
    """UTC with a `Z`, to the millisecond."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.isoformat("T", "milliseconds")[:-6] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Raises ValueError where the text is no time or names no zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"the time {text!r} names no zone")
    return time
