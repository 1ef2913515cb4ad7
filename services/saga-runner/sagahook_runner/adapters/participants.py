"""Steps that other systems do: how a request looks as a Kafka record, and what a reply asks of the saga's owner."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from aiokafka import ConsumerRecord

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook_runner.adapters.records import SOURCE, Stamp
from sagahook_schemas.base import JsonValue
from sagahook_schemas.codec import Undecodable, decode_data
from sagahook_schemas.commands import CompleteStep
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import idempotency_key, partition_of
from sagahook_schemas.participants import AskedPhase, ParticipantReplied, ParticipantRequested
from sagahook_schemas.topics import CONTEXT_LIMIT, SAGA_COMMANDS, steps_topic
from sagahook_schemas.values import NotKept, kept

_ERROR_LIMIT = 2_000


def request_record(
    settings: ServiceSettings,
    *,
    participant: str,
    saga: str,
    saga_id: str,
    run: int,
    step: str,
    phase: AskedPhase,
    attempt: int,
    correlation_id: str,
    data: JsonValue,
    result: JsonValue,
    times_out_at: datetime,
    partition: int,
    stamp: Stamp,
    traceparent: str = "",
) -> OutRecord:
    """For the transaction that commits the attempt's `step.scheduled`.

    data: what the step's preparation said, the same for both phases. result: for a compensation the action's, where it
    is known. partition: the saga's.
    """
    requested = ParticipantRequested(
        saga=saga,
        saga_id=saga_id,
        run=run,
        step=step,
        phase=phase,
        attempt=attempt,
        idempotency_key=idempotency_key(saga_id, run, step, phase),
        action_key=idempotency_key(saga_id, run, step, "action"),
        data=data,
        result=result,
        times_out_at=times_out_at,
    )
    envelope = Envelope(
        id=f"{requested.idempotency_key}/{attempt}",
        source=SOURCE,
        type=requested.ce_type,
        time=stamp.now,
        subject=step,
        correlation_id=correlation_id,
        saga_id=saga_id,
        run=run,
        epoch=stamp.epoch,
        traceparent=traceparent,
    )
    return OutRecord(
        settings.topic(steps_topic(participant)),
        partition,
        saga_id.encode(),
        requested.to_json(),
        envelope.to_headers(),
        stamp.milliseconds,
    )


def completion(settings: ServiceSettings, reply: ConsumerRecord, partitions: int, stamp: Stamp) -> OutRecord:
    """The reply as a command to the owner of its saga. Raises Undecodable.

    Whoever writes replies need set no header: those of an envelope are taken where they are there.
    """
    headers = {name: value or b"" for name, value in reply.headers}

    def header(name: str) -> str:
        return headers.get(name, b"").decode(errors="replace")

    replied = decode_data(header("ce_type") or ParticipantReplied.ce_type, reply.value)
    if not isinstance(replied, ParticipantReplied):
        raise Undecodable(
            f"a {replied.ce_type} is no reply: say {ParticipantReplied.ce_type}, or leave out ce_type"
        )
    saga_id = _saga_id(replied.saga_id, header("ce_sagaid"))
    command = _command(replied)
    envelope = Envelope(
        id=f"{reply.topic}/{reply.partition}/{reply.offset}",
        source=SOURCE,
        type=command.ce_type,
        time=stamp.now,
        correlation_id=header("ce_correlationid"),
        causation_id=header("ce_id"),
        saga_id=saga_id,
        run=command.run,
        traceparent=header("traceparent"),
    )
    return OutRecord(
        settings.topic(SAGA_COMMANDS),
        partition_of(saga_id, partitions),
        saga_id.encode(),
        command.to_json(),
        envelope.to_headers(),
        stamp.milliseconds,
    )


def _saga_id(in_value: str | None, in_headers: str) -> str:
    """As we write it, whatever the case in which another system keeps its UUIDs. Raises Undecodable."""
    told = {str(_uuid(text)) for text in (in_value, in_headers) if text}
    if len(told) != 1:
        raise Undecodable(
            "the reply's saga_id and its header ce_sagaid name two sagas"
            if told
            else "the reply names no saga: put saga_id into its value as it stands in the request"
        )
    return told.pop()


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Undecodable(f"{text[:100]!r} is no saga id") from None


def _command(replied: ParticipantReplied) -> CompleteStep:
    """A result that cannot be kept is an outcome too: the effect was applied, so that the step is compensated."""
    error, retryable, unknown, result = replied.error, replied.retryable, replied.unknown, None
    if error is None:
        try:
            # As with our own actions, nobody reads what a compensation returns.
            result = None if replied.phase == "compensation" else kept(replied.result, CONTEXT_LIMIT)
        except NotKept as refused:
            error, retryable, unknown = f"result_{refused}", False, True
    failed = error is not None
    return CompleteStep(
        run=replied.run,
        step=replied.step,
        phase=replied.phase,
        attempt=replied.attempt,
        result=result,
        error=None if error is None else error[:_ERROR_LIMIT],
        retryable=retryable or not failed,
        unknown=unknown and failed,
        duration_ms=replied.duration_ms,
        retry_after=replied.retry_after if failed else None,
    )
