"""From records to the views that ingest follows."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecord

from sagahook.runtime.logging import get_logger
from sagahook.runtime.tail import Apply
from sagahook_ingest.domain.first_answers import FirstAnswer, FirstAnswers
from sagahook_ingest.domain.sources import KnownSources
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.definitions import ControlSet, SagaDefinition
from sagahook_schemas.envelope import Envelope, InvalidEnvelope
from sagahook_schemas.topics import SAGA_DEFINITIONS, WEBHOOKS_RECEIVED, Topic

log = get_logger(__name__)

HASH_HEADER = "ce_idempotencykeyhash"


def apply_to_sources(sources: KnownSources) -> Apply:
    """For `saga.definitions`."""

    def apply(partition: int, record: DefaultRecord) -> None:
        if record.value is None:
            sources.removed((record.key or b"").decode(errors="replace"))
            return
        try:
            _, definition = decode(record.headers, record.value)
        except (InvalidEnvelope, Undecodable) as unreadable:
            _skip(SAGA_DEFINITIONS, partition, record, str(unreadable))
        else:
            if isinstance(definition, SagaDefinition):
                sources.deployed(definition)
                log.info("sources.deployed", saga=definition.key)
            elif not isinstance(definition, ControlSet):
                # A pause holds what webhooks start; they are accepted as ever.
                _skip(SAGA_DEFINITIONS, partition, record, f"{definition.ce_type} is no saga definition")

    return apply


def apply_to_answers(answers: FirstAnswers) -> Apply:
    """For `webhooks.received`, whose records have a HASH_HEADER where the sender gave an Idempotency-Key."""

    def apply(partition: int, record: DefaultRecord) -> None:
        if not any(name == HASH_HEADER for name, _ in record.headers):
            return
        try:
            envelope = Envelope.from_headers(record.headers)
            key = (
                envelope.extension("webhooksource"),
                bytes.fromhex(envelope.extension("idempotencykeyhash")),
            )
            answer = FirstAnswer(
                event_id=envelope.id,
                correlation_id=envelope.correlation_id,
                body_hash=bytes.fromhex(envelope.extension("bodyhash")),
                time=envelope.time,
                position=record.offset,
            )
        except ValueError as unreadable:
            _skip(WEBHOOKS_RECEIVED, partition, record, str(unreadable))
        else:
            answers.record(key, answer)

    return apply


def _skip(topic: Topic, partition: int, record: DefaultRecord, reason: str) -> None:
    log.error("view.skipped", topic=topic.base, partition=partition, offset=record.offset, reason=reason)
