"""How the runner's events, snapshots and commands look as Kafka records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aiokafka import ConsumerRecord

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook_runner.domain.commands import Attempt, AttemptFailed, AttemptSucceeded
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import Undecodable, decode_data
from sagahook_schemas.commands import CompleteStep, StartSaga
from sagahook_schemas.envelope import Envelope, Header, rfc3339
from sagahook_schemas.identity import partition_of, saga_event_id
from sagahook_schemas.sagas import OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE, WEBHOOKS_ROUTED
from sagahook_schemas.webhooks import WebhookRouted

SOURCE = "/sagahook/saga-runner"
OWNER_KEY = b"owner"
"""The owner's own record in `saga.state`. No saga id looks like this."""

_UUID_LENGTH = 36
_REASON_LIMIT = 1_000

_SPEC = ("ce_specversion", b"1.0")
_SOURCE = ("ce_source", SOURCE.encode())
_JSON = ("content-type", b"application/json")


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
        self._partition = partition
        self._stamp = stamp
        self._milliseconds = stamp.milliseconds
        self._time = ("ce_time", rfc3339(stamp.now).encode())
        self._epoch = ("ce_epoch", b"%d" % stamp.epoch)

    def event(self, entry: Entry) -> OutRecord:
        # Written out, and not through Envelope.to_headers, because this runs for every event of every saga.
        saga_id = entry.saga_id.encode()
        headers = [
            _SPEC,
            ("ce_id", saga_event_id(entry.saga_id, entry.run, entry.sequence).encode()),
            _SOURCE,
            ("ce_type", entry.event.ce_type.encode()),
            self._time,
            _JSON,
            ("ce_subject", entry.name.encode()),
            ("ce_correlationid", entry.correlation_id.encode()),
            ("ce_sagaid", saga_id),
            ("ce_sagarun", b"%d" % entry.run),
            ("ce_sequence", b"%d" % entry.sequence),
            self._epoch,
        ]
        return self._record(self._events, saga_id, entry.event.to_json(), headers)

    def snapshot(self, state: SagaState) -> OutRecord:
        return self._record(self._state, state.saga_id.encode(), state.to_json(), [])

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
            self._record(self._state, OWNER_KEY, record, []),
        )

    def _record(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> OutRecord:
        return OutRecord(topic, self._partition, key, value, headers, self._milliseconds)


class RouteRecords:
    """Makes the records of one router transaction. One instance a transaction, as above."""

    def __init__(self, settings: ServiceSettings, partition: int, partitions: int, stamp: Stamp) -> None:
        self._commands = settings.topic(SAGA_COMMANDS)
        self._routed = settings.topic(WEBHOOKS_ROUTED)
        self._partition = partition
        self._partitions = partitions
        self._milliseconds = stamp.milliseconds
        self._time = ("ce_time", rfc3339(stamp.now).encode())

    def start(self, received: Envelope, saga_id: str, request: StartSaga) -> OutRecord:
        key = saga_id.encode()
        headers = [
            *self._headers(received, f"{received.id}/start/{saga_id}", request.ce_type, request.name),
            ("ce_sagaid", key),
        ]
        where = partition_of(saga_id, self._partitions)
        return OutRecord(self._commands, where, key, request.to_json(), headers, self._milliseconds)

    def routed(self, received: Envelope, routed: WebhookRouted) -> OutRecord:
        headers = self._headers(received, f"{received.id}/routed", routed.ce_type, received.id)
        key = received.id.encode()
        return OutRecord(self._routed, self._partition, key, routed.to_json(), headers, self._milliseconds)

    def _headers(self, received: Envelope, record_id: str, ce_type: str, subject: str) -> list[Header]:
        headers = [
            _SPEC,
            ("ce_id", record_id.encode()),
            _SOURCE,
            ("ce_type", ce_type.encode()),
            self._time,
            _JSON,
            ("ce_subject", subject.encode()),
            ("ce_correlationid", received.correlation_id.encode()),
            ("ce_causationid", received.id.encode()),
        ]
        if received.traceparent:
            headers.append(("traceparent", received.traceparent.encode()))
        return headers


def read_command(record: ConsumerRecord) -> tuple[str, Contract]:
    """The saga and what is asked of it; the rest of the envelope is not needed here. Raises Undecodable."""
    headers = dict(record.headers)
    try:
        saga_id, ce_type = headers["ce_sagaid"].decode(), headers["ce_type"].decode()
    except (KeyError, ValueError, AttributeError) as invalid:
        raise Undecodable(f"the headers are no command's: {invalid!r}") from None
    if len(saga_id) != _UUID_LENGTH:
        raise Undecodable(f"{saga_id[:100]!r} is no saga id")
    return saga_id, decode_data(ce_type, record.value)


def complete_step_headers(saga_id: str, now: datetime, command: CompleteStep) -> Envelope:
    return Envelope(
        id=f"{saga_id}/{command.run}/{command.step}/{command.phase}/{command.attempt}/outcome",
        source=SOURCE,
        type=command.ce_type,
        time=now,
        saga_id=saga_id,
        run=command.run,
    )


def complete_step(attempt: Attempt) -> CompleteStep | None:
    """The outcome as a command to the saga's present owner; None where there is none to tell."""
    match attempt:
        case AttemptSucceeded():
            return CompleteStep(
                run=attempt.run,
                step=attempt.step,
                phase=attempt.phase,
                attempt=attempt.attempt,
                result=attempt.result,
                duration_ms=attempt.duration_ms,
            )
        case AttemptFailed():
            return CompleteStep(
                run=attempt.run,
                step=attempt.step,
                phase=attempt.phase,
                attempt=attempt.attempt,
                error=attempt.error,
                retryable=attempt.retryable,
                unknown=attempt.unknown,
                duration_ms=attempt.duration_ms,
            )
        case _:
            return None


def attempt_of(command: CompleteStep, dice: float) -> Attempt:
    """The reverse of `complete_step`. dice: for a retry's jitter."""
    if command.error is None:
        return AttemptSucceeded(
            command.run,
            command.step,
            command.phase,
            command.attempt,
            command.result,
            command.duration_ms,
        )
    return AttemptFailed(
        command.run,
        command.step,
        command.phase,
        command.attempt,
        command.error,
        command.retryable,
        command.unknown,
        command.duration_ms,
        dice,
    )


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
