"""Follows the pauses in `saga.definitions`."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecord

from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.tail import Apply, Tail
from sagahook_runner.domain.controls import Controls
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.definitions import CONTROL_PREFIX, ControlSet
from sagahook_schemas.envelope import InvalidEnvelope
from sagahook_schemas.topics import SAGA_DEFINITIONS

log = get_logger(__name__)

_PREFIX = CONTROL_PREFIX.encode()


def controls_tail(settings: ServiceSettings, partitions: int, controls: Controls) -> Tail:
    """What keeps the view current, for as long as it runs."""
    topic = settings.topic(SAGA_DEFINITIONS)
    return Tail(settings.kafka, topic, partitions, apply_to_controls(controls), wanted=(_PREFIX,))


def apply_to_controls(controls: Controls) -> Apply:
    def apply(partition: int, record: DefaultRecord) -> None:
        key: bytes = record.key or b""
        if not key.startswith(_PREFIX):
            return
        if record.value is None:
            controls.forget(key.decode(errors="replace"))
            return
        try:
            _, control = decode(record.headers, record.value)
            if not isinstance(control, ControlSet):
                raise Undecodable(f"{control.ce_type} is no control")
        except (InvalidEnvelope, Undecodable) as unreadable:
            log.error("control.skipped", partition=partition, offset=record.offset, reason=str(unreadable))
        else:
            controls.set(control)
            log.info("control.set", key=control.key, paused=control.paused, actor=control.actor)

    return apply
