"""Every identity that outlives a process, each made by exactly one function.

They are derived, not drawn, so that a replay, a retry or another replica arrives at the same identity.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from hashlib import sha1
from typing import Literal
from uuid import UUID

Phase = Literal["action", "compensation", "prepare"]
"""prepare: the author's code that says, before the action, whether and with what it is to be done. It has no
effects."""

# Fixed for ever: changing a namespace would give every saga and delivery a new identity.
_SAGAS = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e001")
_DELIVERIES = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e002")
_CHILDREN = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e004")
_NOTIFY_ENDPOINTS = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e003")
_RECEIVED_DELIVERIES = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e005")

_UNVERSIONED = ~((0xF << 76) | (0x3 << 62))
_VERSION_5 = (0x5 << 76) | (0x2 << 62)

NOTIFY_ENDPOINT_PREFIX = "notify-"
"""No endpoint that people make has an id that begins so."""


def saga_id(source: str, saga_name: str, idempotency_value: str) -> str:
    """One saga for each (source, saga name, idempotency value).

    Two sagas on one event never share an id, because the name is part of it. Where a trigger names no
    idempotency key the value is the webhook's own `event_id`, so that every POST is a saga of its own.
    No two triples collide, because the names of sources and sagas cannot hold the character between the parts;
    the value, which is a sender's, may: it comes last.
    """
    return _uuid5(_SAGAS, f"{source}\x1f{saga_name}\x1f{idempotency_value}")


def child_id(parent_id: str, run: int, step: str) -> str:
    """The saga that a step of another one runs: found again by whoever asks for it twice."""
    return _uuid5(_CHILDREN, f"{parent_id}\x1f{run}\x1f{step}")


def limit_key(saga_name: str, value: str | None) -> str:
    """What sagas share that count against one limit: their name, and the value at the trigger's concurrency key.
    It lives in the partition that `partition_of` gives for it, as sagas do, and is never taken for a saga id."""
    return f"limit/{saga_name}" if value is None else f"limit/{saga_name}/{value}"


def idempotency_key(saga_id: str, run: int, step: str, phase: Phase) -> str:
    """The key a participant deduplicates by: the same for every attempt, another for every run."""
    return f"{saga_id}/{run}/{step}/{phase}"


def saga_event_id(saga_id: str, run: int, sequence: int) -> str:
    """The CloudEvents id of one event in a saga's log, unless a webhook joined it by that."""
    return f"{saga_id}/{run}/{sequence}"


def joined_event_id(saga_id: str, run: int, event_id: str) -> str:
    """The CloudEvents id of `saga.joined`. It names the webhook: one that is routed once more after a crash joins once
    more, and whoever keeps what he has read by its id has it once (docs/decisions/0034)."""
    return f"{saga_id}/{run}/joined/{event_id}"


def delivery_id(event_id: str, endpoint_id: str) -> str:
    """One delivery for each (event, endpoint): a replay of the log finds it already there."""
    return _uuid5(_DELIVERIES, f"{event_id}\x1f{endpoint_id}")


def webhook_task_id(source: str, delivery_id: str) -> str:
    """The task that GitHub's endpoint names for a delivery (api.md §2), before anybody knows which sagas it starts.

    It stands for the event that the delivery became, and so for all of the event's sagas: whoever takes a task id
    makes this of each event that has a delivery id and compares. It is no saga's id, and a redelivery has the same.
    """
    return _uuid5(_RECEIVED_DELIVERIES, f"{source}\x1f{delivery_id}")


def notify_endpoint_id(source: str, url: str) -> str:
    """One endpoint for each (source, URL that its webhooks named by X-Notify-URL): however often it is named,
    it is told once of each event."""
    return NOTIFY_ENDPOINT_PREFIX + _uuid5(_NOTIFY_ENDPOINTS, f"{source}\x1f{url}")


def _uuid5(namespace: UUID, name: str) -> str:
    """`str(uuid.uuid5(namespace, name))` (RFC 9562 §5.5), in a third of its time: every webhook and event has one."""
    digest = sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()
    digits = f"{int.from_bytes(digest[:16]) & _UNVERSIONED | _VERSION_5:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def record_number(partition: int, offset: int) -> int:
    """The integer id of what a record tells, unique within its topic: a rebuild from the log finds it again.

    It grows with the offset, and stays below 2**53 (what JSON's readers hold exactly) for 10**11 records in
    each of 65,536 partitions.
    """
    return (offset << 16) | partition


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Where everything about a key lives, for ever. CRC-32 is librdkafka's `consistent` partitioner, so that
    a consumer in any language can find a saga's partition without asking us."""
    return zlib.crc32(key.encode()) % partitions
