"""From records to the views that ingest follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiokafka.record.default_records import DefaultRecord

from sagahook.runtime.logging import get_logger
from sagahook.runtime.tail import Apply
from sagahook_ingest.domain.first_answers import FirstAnswer, FirstAnswers
from sagahook_ingest.domain.sources import KnownSources
from sagahook_ingest.domain.webhook import OnceOnly
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.definitions import ControlSet, SagaDefinition
from sagahook_schemas.envelope import InvalidEnvelope, parse_rfc3339
from sagahook_schemas.topics import SAGA_DEFINITIONS, WEBHOOKS_RECEIVED, Topic

log = get_logger(__name__)

KEY_HEADER = "ce_idempotencykeyhash"
DELIVERY_HEADER = "ce_deliveryid"


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
    """For `webhooks.received`, whose records have KEY_HEADER where the sender gave an Idempotency-Key, and
    DELIVERY_HEADER where it gave its delivery an id."""

    def apply(partition: int, record: DefaultRecord) -> None:
        headers = dict(record.headers)
        if KEY_HEADER not in headers and DELIVERY_HEADER not in headers:
            return
        try:
            for once, answer in _once(headers, record.offset):
                answers.record(once.key, answer)
        except (KeyError, ValueError) as unreadable:
            _skip(WEBHOOKS_RECEIVED, partition, record, repr(unreadable))

    return apply


def _once(headers: Mapping[str, bytes], offset: int) -> Iterator[tuple[OnceOnly, FirstAnswer]]:
    """Only what is needed of the envelope: a replica reads back everything that all replicas write. Raises KeyError,
    ValueError."""
    source = headers["ce_webhooksource"].decode()
    told = headers["ce_id"].decode(), headers.get("ce_correlationid", b"").decode()
    time = parse_rfc3339(headers["ce_time"].decode())
    hashed, delivery_id = headers.get(KEY_HEADER), headers.get(DELIVERY_HEADER)
    if hashed is not None:
        once = OnceOnly(
            source, bytes.fromhex(hashed.decode()), bytes.fromhex(headers["ce_bodyhash"].decode())
        )
        yield once, FirstAnswer(*told, once.body_hash, time, offset)
    if delivery_id is not None:
        yield OnceOnly.of_delivery(source, delivery_id.decode()), FirstAnswer(*told, b"", time, offset)


def _skip(topic: Topic, partition: int, record: DefaultRecord, reason: str) -> None:
    log.error("view.skipped", topic=topic.base, partition=partition, offset=record.offset, reason=reason)
