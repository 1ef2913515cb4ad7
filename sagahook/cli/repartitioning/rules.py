"""Where each record of one generation of topics belongs in the next, and as what. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import ConsumerRecord

from sagahook_runner.adapters.records import OWNER_KEY
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.commands import ReprocessWebhook
from sagahook_schemas.envelope import InvalidEnvelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_STATE, WEBHOOKS_COMMANDS, Topic

_OWNERS = b"owner/"
"""What the key of each event of an owner begins with, in `saga.events`."""

_OF_A_LIMIT = b"\x1f"
"""In `saga.state`, between a limit's key and one of its runs."""

COMMANDS_ABOUT_WEBHOOKS = (WEBHOOKS_COMMANDS.base, WEBHOOKS_COMMANDS.dead_letters.base)


def home_of(topic: Topic, record: ConsumerRecord, partitions: int) -> int:
    """By the key, as everywhere; a limit's runs are with their limit. What has no key stays together with what it was
    with."""
    key: bytes = record.key or b""
    if topic is SAGA_STATE:
        key = key.partition(_OF_A_LIMIT)[0]
    return partition_of(key.decode(errors="replace"), partitions) if key else record.partition % partitions


def stays_behind(topic: Topic, key: bytes | None) -> bool:
    """Whether it tells of the owner of a partition that there is no more: the new ones get records of their own."""
    if topic is SAGA_EVENTS:
        return key is not None and key.startswith(_OWNERS)
    return topic is SAGA_STATE and key == OWNER_KEY


def webhook_named(record: ConsumerRecord) -> str | None:
    """The event that a command about a webhook names by its position. None: it names none."""
    command = _reprocess(record)
    return None if command is None else command.event_id


def value_of(topic: Topic, record: ConsumerRecord, positions: Mapping[str, int]) -> bytes | None:
    """As it was, but for the position in `webhooks.received` that a command names. positions: the new ones, by event
    id. A webhook that is not in the log any more is not found where it was, as before."""
    value: bytes | None = record.value
    if topic.base in COMMANDS_ABOUT_WEBHOOKS:
        command = _reprocess(record)
        if command is not None and command.event_id in positions:
            return command.model_copy(update={"offset": positions[command.event_id]}).to_json()
    return value


def _reprocess(record: ConsumerRecord) -> ReprocessWebhook | None:
    if record.value is None:
        return None
    try:
        _, command = decode(record.headers, record.value)
    except (InvalidEnvelope, Undecodable):
        return None
    return command if isinstance(command, ReprocessWebhook) else None
