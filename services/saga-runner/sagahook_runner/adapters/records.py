"""How the runner's events, snapshots and commands look as Kafka records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import NamedTuple

from aiokafka import ConsumerRecord

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook_runner.domain.finished import Finished, encode_finished
from sagahook_runner.domain.react import Message
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import Undecodable, decode_data
from sagahook_schemas.commands import ReleaseSlot, RequestSlot, StartSaga
from sagahook_schemas.envelope import Envelope, Header, rfc3339
from sagahook_schemas.identity import joined_event_id, partition_of, saga_event_id
from sagahook_schemas.sagas import OwnerAcquired, OwnerReleased, SagaJoined
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE, WEBHOOKS_ROUTED
from sagahook_schemas.webhooks import WebhookRouted

SOURCE = "/sagahook/saga-runner"
OWNER_KEY = b"owner"
"""The owner's own record in `saga.state`. No saga id looks like this."""

LIMIT_PREFIX = "limit/"
"""Of every limit's key, and of no saga's."""

_SAGA_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_REASON_LIMIT = 1_000

_SPEC = ("ce_specversion", b"1.0")
_SOURCE = ("ce_source", SOURCE.encode())
_JSON = ("content-type", b"application/json")


@cache
def _type_header(ce_type: str) -> Header:
    return ("ce_type", ce_type.encode())


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all records of one transaction share."""

    now: datetime
    epoch: int = 0

    @property
    def milliseconds(self) -> int:
        return int(self.now.timestamp() * 1000)


class EventRecords:
    """Makes the records of one partition's transactions. One instance a transaction: the parts that its records
    share are made once."""

    def __init__(self, settings: ServiceSettings, partition: int, stamp: Stamp) -> None:
        self._events = settings.topic(SAGA_EVENTS)
        self._state = settings.topic(SAGA_STATE)
        self._commands = settings.topic(SAGA_COMMANDS)
        self._partition = partition
        self._stamp = stamp
        self._milliseconds = stamp.milliseconds
        self._time = ("ce_time", rfc3339(stamp.now).encode())
        self._epoch = ("ce_epoch", b"%d" % stamp.epoch)

    def events(self, entries: Sequence[Entry]) -> list[OutRecord]:
        """Of one run."""
        # Written out, and not through Envelope.to_headers, because this runs for every event of every saga.
        saga_id, run, _, name, correlation_id, _, state = entries[0]
        key = saga_id.encode()
        subject = ("ce_subject", name.encode())
        correlation = ("ce_correlationid", correlation_id.encode())
        whose = ("ce_sagaid", key)
        of_run = ("ce_sagarun", b"%d" % run)
        trace = [("traceparent", state.traceparent.encode())] if state.traceparent else ()
        return [
            self._record(
                self._events,
                key,
                entry.event.to_json(),
                [
                    _SPEC,
                    ("ce_id", _event_id(entry).encode()),
                    _SOURCE,
                    _type_header(entry.event.ce_type),
                    self._time,
                    _JSON,
                    subject,
                    correlation,
                    whose,
                    of_run,
                    ("ce_sequence", b"%d" % entry.sequence),
                    self._epoch,
                    *trace,
                ],
            )
            for entry in entries
        ]

    def snapshot(self, state: SagaState) -> OutRecord:
        return self._record(self._state, state.saga_id.encode(), state.to_json(), [])

    def finished(self, finished: Finished) -> OutRecord:
        return self._record(self._state, finished.saga_id.encode(), encode_finished(finished), [])

    def forgotten(self, saga_id: str) -> OutRecord:
        return self._record(self._state, saga_id.encode(), None, [])

    def limit_event(self, key: str, event: Contract, number: int) -> OutRecord:
        """number: of the event in its transaction."""
        headers = self._headers(
            f"{key}/{self._stamp.epoch}/{self._milliseconds}/{number}", event.ce_type, key
        )
        return self._record(self._events, key.encode(), event.to_json(), headers)

    def limit(self, key: str, value: bytes | None) -> OutRecord:
        """One of `snapshots_of` it."""
        return self._record(self._state, key.encode(), value, [])

    def message(
        self, sent: Message, cause: str, correlation_id: str, traceparent: str, partitions: int
    ) -> OutRecord:
        """cause: the id of the event that asked for it. correlation_id, traceparent: "" where there is none."""
        command, key = sent.command, sent.key.encode()
        headers = self._headers(f"{cause}/{command.ce_type}/{sent.key}", command.ce_type, sent.key)
        headers.append(("ce_causationid", cause.encode()))
        if correlation_id:
            headers.append(("ce_correlationid", correlation_id.encode()))
        if traceparent:
            headers.append(("traceparent", traceparent.encode()))
        if not sent.key.startswith(LIMIT_PREFIX):
            headers.append(("ce_sagaid", key))
        where = partition_of(sent.key, partitions)
        return OutRecord(self._commands, where, key, command.to_json(), headers, self._milliseconds)

    def _headers(self, record_id: str, ce_type: str, subject: str) -> list[Header]:
        return [
            _SPEC,
            ("ce_id", record_id.encode()),
            _SOURCE,
            ("ce_type", ce_type.encode()),
            self._time,
            _JSON,
            ("ce_subject", subject.encode()),
            self._epoch,
        ]

    def owner(self, event: OwnerAcquired | OwnerReleased, record: bytes) -> tuple[OutRecord, OutRecord]:
        """The event in the log, and the owner's own record beside the snapshots."""
        envelope = Envelope(
            id=f"owner/{self._partition}/{self._stamp.epoch}/{event.ce_type}/{self._milliseconds}",
            source=SOURCE,
            type=event.ce_type,
            time=self._stamp.now,
            subject=f"partition {self._partition}",
            epoch=self._stamp.epoch,
        )
        key = f"owner/{self._partition}".encode()
        return (
            self._record(self._events, key, event.to_json(), envelope.to_headers()),
            self.owner_record(record),
        )

    def owner_record(self, record: bytes) -> OutRecord:
        return self._record(self._state, OWNER_KEY, record, [])

    def _record(
        self, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> OutRecord:
        return OutRecord(topic, self._partition, key, value, headers, self._milliseconds)


def _event_id(entry: Entry) -> str:
    if isinstance(entry.event, SagaJoined):
        return joined_event_id(entry.saga_id, entry.run, entry.event.event_id)
    return saga_event_id(entry.saga_id, entry.run, entry.sequence)


class RouteRecords:
    """Makes the records of one router transaction. One instance a transaction, as above."""

    def __init__(self, settings: ServiceSettings, partition: int, partitions: int, stamp: Stamp) -> None:
        self._commands = settings.topic(SAGA_COMMANDS)
        self._routed = settings.topic(WEBHOOKS_ROUTED)
        self._partition = partition
        self._partitions = partitions
        self._milliseconds = stamp.milliseconds
        self._time = ("ce_time", rfc3339(stamp.now).encode())

    def start(self, received: Envelope, saga_id: str, request: StartSaga, cause: str = "") -> OutRecord:
        """cause: the command by which the webhook is routed again."""
        key = saga_id.encode()
        headers = [
            *self._headers(received, cause, f"start/{saga_id}", request.ce_type, request.name),
            ("ce_sagaid", key),
        ]
        where = partition_of(saga_id, self._partitions)
        return OutRecord(self._commands, where, key, request.to_json(), headers, self._milliseconds)

    def routed(self, received: Envelope, routed: WebhookRouted, cause: str = "") -> OutRecord:
        headers = self._headers(received, cause, "routed", routed.ce_type, received.id)
        key = received.id.encode()
        return OutRecord(self._routed, self._partition, key, routed.to_json(), headers, self._milliseconds)

    def _headers(
        self, received: Envelope, cause: str, record: str, ce_type: str, subject: str
    ) -> list[Header]:
        """cause: "" where it is the webhook itself."""
        cause = cause or received.id
        headers = [
            _SPEC,
            ("ce_id", f"{cause}/{record}".encode()),
            _SOURCE,
            ("ce_type", ce_type.encode()),
            self._time,
            _JSON,
            ("ce_subject", subject.encode()),
            ("ce_correlationid", received.correlation_id.encode()),
            ("ce_causationid", cause.encode()),
        ]
        if received.traceparent:
            headers.append(("traceparent", received.traceparent.encode()))
        return headers


class Asked(NamedTuple):
    """key: the saga id, or the limit key. id: the command's."""

    key: str
    id: str
    command: Contract


def read_command(record: ConsumerRecord | OutRecord) -> Asked:
    """What is asked of whom; the rest of the envelope is not needed here. Raises Undecodable."""
    headers = dict(record.headers)
    try:
        command_id, ce_type = headers["ce_id"].decode(), headers["ce_type"].decode()
        command = decode_data(ce_type, record.value)
        if isinstance(command, RequestSlot | ReleaseSlot):
            return Asked(record.key.decode(), command_id, command)
        saga_id = headers["ce_sagaid"].decode()
    except (KeyError, ValueError, AttributeError) as invalid:
        if isinstance(invalid, Undecodable):
            raise
        raise Undecodable(f"the headers are no command's: {invalid!r}") from None
    if not _SAGA_ID.fullmatch(saga_id):
        raise Undecodable(f"{saga_id[:100]!r} is no saga id")
    return Asked(saga_id, command_id, command)


def dead_letter(
    topic: str, record: ConsumerRecord, partition: int, reason: str, milliseconds: int
) -> OutRecord:
    """The record as it was, and beside it where it stood and why it was refused."""
    headers = [
        *record.headers,
        ("dlqreason", reason[:_REASON_LIMIT].encode(errors="replace")),
        ("dlqtopic", record.topic.encode()),
        ("dlqpartition", b"%d" % record.partition),
        ("dlqoffset", b"%d" % record.offset),
    ]
    return OutRecord(topic, partition, record.key or b"", record.value, headers, milliseconds)
