"""A webhook that passed every check, on its way to the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.webhooks import received_envelope

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


@dataclass(frozen=True, slots=True)
class Webhook:
    """event_type and delivery_id: "" where there is none. recorded_only: why no saga is to start for it, else "".

    cloud_event: the attributes that came in headers, as JSON. once: the Idempotency-Key's before the delivery id's.
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

    def pinned(self, partitions: int) -> int | None:
        """Where it must lie: all records under one key lie in one partition, so that everyone agrees which came
        first. Of two keys the first counts: whoever repeats a delivery repeats its Idempotency-Key too."""
        return self.once[0].partition(partitions) if self.once else None

    def only_recorded(self, reason: str) -> Webhook:
        """The same where there is no reason."""
        return replace(self, recorded_only=reason) if reason else self

    def envelope(self, event_id: str) -> Envelope:
        keyed = next((once for once in self.once if once.body_hash), None)
        return received_envelope(
            event_id=event_id,
            source=self.source,
            event_type=self.event_type,
            time=self.time,
            correlation_id=self.correlation_id,
            content_type=self.content_type,
            idempotency_key_hash=keyed.key_hash.hex() if keyed else "",
            body_hash=keyed.body_hash.hex() if keyed else "",
            delivery_id=self.delivery_id,
            recorded_only=self.recorded_only,
            cloud_event=self.cloud_event,
            notify_url=self.notify_url,
            traceparent=self.traceparent,
        )
