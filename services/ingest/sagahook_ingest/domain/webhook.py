"""A webhook that passed every check, on its way to the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.webhooks import received_envelope


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """The sender's Idempotency-Key and what it was used for, as SHA-256 in hex: the key itself is kept nowhere."""

    source: str
    key_hash: str
    body_hash: str

    @classmethod
    def of(cls, source: str, key: str, body: bytes) -> OnceOnly:
        return cls(source, sha256(key.encode()).hexdigest(), sha256(body).hexdigest())

    def partition(self, partitions: int) -> int:
        """All records under one key lie in one partition, so that everyone agrees which came first."""
        return partition_of(f"{self.source}\x1f{self.key_hash}", partitions)


@dataclass(frozen=True, slots=True)
class Webhook:
    """`event_type` may be empty. `once` None: the sender gave no Idempotency-Key."""

    source: str
    event_type: str
    time: datetime
    correlation_id: str
    content_type: str
    body: bytes
    once: OnceOnly | None = None
    notify_url: str = ""
    traceparent: str = ""

    def envelope(self, event_id: str) -> Envelope:
        return received_envelope(
            event_id=event_id,
            source=self.source,
            event_type=self.event_type,
            time=self.time,
            correlation_id=self.correlation_id,
            content_type=self.content_type,
            idempotency_key_hash=self.once.key_hash if self.once else "",
            body_hash=self.once.body_hash if self.once else "",
            notify_url=self.notify_url,
            traceparent=self.traceparent,
        )
