"""A webhook that passed every check, on its way to the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sagahook_schemas.envelope import Header
from sagahook_schemas.erasable import KEY_EXTENSION
from sagahook_schemas.identity import partition_of
from sagahook_schemas.webhooks import received_headers

Key = tuple[str, bytes]
"""A source, and the SHA-256 of what its sender wants taken once."""


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """What a sender wants taken once, as hashes: an Idempotency-Key is kept nowhere itself.

    body_hash: the SHA-256 of what the key was used for; b"" for a delivery id, under which whatever comes again is
    the same delivery.
    """

    source: str
    key_hash: bytes
    body_hash: bytes = b""

    @classmethod
    def of_key(cls, source: str, key: str, body: bytes) -> OnceOnly:
        return cls(source, sha256(key.encode()).digest(), sha256(body).digest())

    @classmethod
    def of_delivery(cls, source: str, delivery_id: str) -> OnceOnly:
        # NUL is in no Idempotency-Key, so that none can be taken for a delivery.
        return cls(source, sha256(b"delivery\0" + delivery_id.encode()).digest())

    @property
    def key(self) -> Key:
        return self.source, self.key_hash

    def partition(self, partitions: int) -> int:
        return partition_of(f"{self.source}\x1f{self.key_hash.hex()}", partitions)


@dataclass(slots=True)  # not frozen: that makes its making three times as long
class Webhook:
    """event_type and delivery_id: "" where there is none. recorded_only: why no saga is to start for it, else "".

    cloud_event: the attributes that came in headers, as JSON. once: the Idempotency-Key's before the delivery id's.
    http_headers: what the log keeps of them. subject: whose data it is, "" for the source's; None: it is not sealed.
    data_key: what it is sealed under by now.
    """

    source: str
    event_type: str
    time: datetime
    correlation_id: str
    content_type: str
    body: bytes
    once: tuple[OnceOnly, ...] = ()
    delivery_id: str = ""
    recorded_only: str = ""
    cloud_event: str = ""
    notify_url: str = ""
    traceparent: str = ""
    http_headers: bytes = b""
    subject: str | None = None
    data_key: str = ""

    def pinned(self, partitions: int) -> int | None:
        """Where it must lie: all records under one key lie in one partition, so that everyone agrees which came
        first. Of two keys the first counts: whoever repeats a delivery repeats its Idempotency-Key too."""
        return self.once[0].partition(partitions) if self.once else None

    def record_headers(self, event_id: str) -> list[Header]:
        """As the record has them in the log."""
        return received_headers(
            event_id=event_id,
            source=self.source,
            event_type=self.event_type,
            time=self.time,
            correlation_id=self.correlation_id,
            content_type=self.content_type,
            traceparent=self.traceparent,
            extensions=self._extensions() if self.once or self.notify_url or self.data_key else (),
            http_headers=self.http_headers,
        )

    def _extensions(self) -> list[tuple[str, str]]:
        """Not all of them have one: what is recorded only, and a CloudEvent, has a delivery id as well."""
        keyed = next((once for once in self.once if once.body_hash), None)
        told = (
            ("idempotencykeyhash", keyed.key_hash.hex() if keyed else ""),
            ("bodyhash", keyed.body_hash.hex() if keyed else ""),
            ("deliveryid", self.delivery_id),
            ("recordedonly", self.recorded_only),
            ("cloudevent", self.cloud_event),
            ("notifyurl", self.notify_url),
            (KEY_EXTENSION, self.data_key),
        )
        return [(name, value) for name, value in told if value]
