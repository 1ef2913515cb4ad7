"""The public topics as an AsyncAPI 3 document, from the registry and the contracts.

It describes the deployment as a whole: each operation is that of the party which its only tag names, be it one of the
services, a participant, or `consumers`, who are all other systems. Channels and messages have the bindings for Kafka,
version 0.5.0 of their specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any

from pydantic.json_schema import models_json_schema

from sagahook_schemas.base import Contract
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.envelope import JSON
from sagahook_schemas.jsonschema import WithoutFieldTitles, envelope_schema
from sagahook_schemas.topics import (
    DEFAULT_PARTITIONS,
    DEFAULT_PREFIX,
    SAGA_REPLIES,
    TOPICS,
    Topic,
    steps_topic,
)
from sagahook_schemas.webhooks import RECEIVED

Document = dict[str, Any]
Examples = Mapping[str, Mapping[str, Any]]
"""Payloads by name, by CloudEvents type."""

CONSUMERS = "consumers"
PARTICIPANTS = "participants"
_BINDING = {"bindingVersion": "0.5.0"}

_OF_A_RUN = ("ce_subject", "ce_correlationid", "ce_sagaid", "ce_sagarun", "ce_sequence", "ce_epoch")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "sagahook.saga.": _OF_A_RUN,
    "sagahook.step.": _OF_A_RUN,
    "sagahook.limit.": ("ce_subject", "ce_epoch"),
    "sagahook.owner.": ("ce_subject", "ce_epoch"),
    "sagahook.webhook.received.": ("ce_webhooksource",),
    "sagahook.webhook.routed.": ("ce_subject", "ce_causationid"),
    "sagahook.definition.": ("ce_subject",),
    "sagahook.control.": ("ce_subject",),
    "sagahook.participant.requested.": ("ce_subject", "ce_sagaid", "ce_sagarun"),
    "sagahook.delivery.": ("ce_subject", "ce_causationid", "ce_sagaid", "ce_sagarun"),
    "sagahook.audit.": ("ce_subject",),
}
"""What every record has beside what every record has: by what its type begins with."""

_SAGA = "f4f97f1d-747c-5abe-b53c-5dd9891f2bf8"
_EXAMPLE: Mapping[str, str] = {
    "ce_specversion": "1.0",
    "ce_id": f"{_SAGA}/1/1",
    "ce_source": "/sagahook/saga-runner",
    "ce_time": "2026-01-05T09:30:00.250Z",
    "content-type": JSON,
    "ce_subject": "order_processing",
    "ce_correlationid": "checkout-77f0",
    "ce_causationid": "0198a1c2-7d10-7c3a-9f52-5c1c0e6a1001",
    "ce_sagaid": _SAGA,
    "ce_sagarun": "1",
    "ce_sequence": "1",
    "ce_epoch": "7",
    "ce_webhooksource": "order_created",
}
"""What each header looks like."""


def asyncapi(
    examples: Examples, prefix: str = DEFAULT_PREFIX, partitions: int = DEFAULT_PARTITIONS
) -> Document:
    """prefix, partitions: the deployment's."""
    channels = {_key(topic): topic for topic in public_topics()}
    return {
        "asyncapi": "3.1.0",
        "info": _info(),
        "defaultContentType": JSON,
        "servers": {"kafka": _server()},
        "channels": {key: _channel(topic, prefix, partitions) for key, topic in channels.items()},
        "operations": {
            name: each for key, topic in channels.items() for name, each in _operations(key, topic)
        },
        "components": {
            "schemas": {"Envelope": envelope_schema(), **_payloads()},
            "messages": {
                ce_type: _message(ce_type, topic, examples.get(ce_type, {}))
                for topic in channels.values()
                for ce_type in types_of(topic)
            },
        },
    }


def public_topics() -> list[Topic]:
    """Those that other systems read or write. `saga.steps.<participant>` stands for those of all participants."""
    return [*(topic for topic in TOPICS if topic.public), steps_topic("participant")]


def types_of(topic: Topic) -> list[str]:
    """The CloudEvents types of a public topic's records, as far as contracts know them."""
    return [ce_type for ce_type in (RECEIVED, *CONTRACTS) if ce_type.startswith(topic.types)]


def _info() -> Document:
    return {
        "title": "sagahook",
        "version": "1",
        "description": "The records that other systems read from sagahook's Kafka, and participants write to it. "
        "Each is a CloudEvent 1.0 in Kafka's binary mode: its attributes are headers, its data the value. Read at "
        "isolation.level=read_committed. Order, duplicates, retention and what may change: docs/consuming.md.",
        "license": {"name": "Apache-2.0"},
        "tags": [
            {"name": party, "description": what}
            for party, what in (
                ("ingest", "accepts webhooks"),
                ("saga-runner", "runs sagas"),
                ("tracker", "answers what became of a webhook"),
                ("notifier", "delivers outbound webhooks"),
                (PARTICIPANTS, "other systems that do steps"),
                (CONSUMERS, "other systems that read what happens"),
            )
        ],
    }


def _server() -> Document:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "Any broker of the deployment. Whether it asks for TLS and for whom is the deployment's choice.",
        "variables": {"bootstrap": {"default": "localhost:9092", "description": "bootstrap.servers"}},
    }


def _key(topic: Topic) -> str:
    return topic.base.removesuffix(".participant")


def _channel(topic: Topic, prefix: str, partitions: int) -> Document:
    address = topic.name(prefix)
    channel: Document = {
        "address": address,
        "description": topic.holds[0].upper() + topic.holds[1:] + ".",
        "messages": {name: _reference("components", "messages", name) for name in types_of(topic)},
        "bindings": {
            "kafka": {"partitions": partitions, "topicConfiguration": _configuration(topic), **_BINDING}
        },
    }
    if topic.base == "saga.steps.participant":
        channel["address"] = address.replace("participant", "{participant}")
        channel["description"] = (
            "Steps that a participant is asked to do or undo. Each participant has such a topic."
        )
        named = "As sagas name it: lower-case letters, digits and -, a letter first."
        channel["parameters"] = {"participant": {"description": named, "examples": ["billing"]}}
    return channel


def _configuration(topic: Topic) -> Document:
    """Of the settings those that a reader plans by."""
    settings = topic.config()
    wanted = ("retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")
    numbers = {name: int(settings[name]) for name in wanted if name in settings}
    return {"cleanup.policy": settings["cleanup.policy"].split(","), **numbers}


def _operations(key: str, topic: Topic) -> Iterator[tuple[str, Document]]:
    outside = () if key in ("saga.replies", "saga.steps") else (CONSUMERS,)
    for action, parties in (("send", topic.writers), ("receive", (*topic.readers, *outside))):
        for party in parties:
            operation: Document = {
                "action": action,
                "channel": _reference("channels", key),
                "title": f"{party}: {action} {key}",
                "tags": [{"name": party}],
                "messages": [_reference("channels", key, "messages", name) for name in types_of(topic)],
            }
            if key == "saga.steps":
                operation["reply"] = {"channel": _reference("channels", _key(SAGA_REPLIES))}
            yield f"{party}.{action}.{key}", operation


def _message(ce_type: str, topic: Topic, examples: Mapping[str, Any]) -> Document:
    contract = CONTRACTS.get(ce_type)
    headers = _example_headers(ce_type)
    message: Document = {
        "name": ce_type,
        "title": ce_type.removeprefix("sagahook."),
        "headers": _headers(ce_type),
        "payload": {} if contract is None else _reference("components", "schemas", contract.__name__),
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, **_BINDING}},
    }
    if contract is None:
        message["summary"] = (
            "The webhook's body as it was sent, of whatever type the header content-type names."
        )
        examples = {"json": {"order_id": "o-1001", "total_cents": 1500}}
    else:
        message["summary"] = _summary(contract)
        message["contentType"] = JSON
    if examples:
        message["examples"] = [
            {"name": name, "headers": headers, "payload": payload} for name, payload in examples.items()
        ]
    return message


def _headers(ce_type: str) -> Document:
    """A participant's reply needs none of them."""
    if ce_type == "sagahook.participant.replied.v1":
        return {"type": "object", "properties": envelope_schema()["properties"]}
    own = {"type": "object", "properties": {"ce_type": {"const": ce_type}}, "required": [*_always(ce_type)]}
    return {"allOf": [_reference("components", "schemas", "Envelope"), own]}


def _example_headers(ce_type: str) -> Document:
    required = ("ce_specversion", "ce_id", "ce_source", "ce_time", "content-type", *_always(ce_type))
    return {**{name: _EXAMPLE[name] for name in required}, "ce_type": ce_type}


def _always(ce_type: str) -> tuple[str, ...]:
    return next((names for begins, names in _HEADERS.items() if ce_type.startswith(begins)), ())


def _payloads() -> dict[str, Document]:
    """Each contract and what it is made of, by the name of its class."""
    public = [CONTRACTS[name] for topic in public_topics() for name in types_of(topic) if name in CONTRACTS]
    _, schemas = models_json_schema(
        [(contract, "validation") for contract in public],
        ref_template="#/components/schemas/{model}",
        schema_generator=WithoutFieldTitles,
    )
    found: dict[str, Document] = schemas["$defs"]
    return found


def _summary(contract: type[Contract]) -> str:
    """The first paragraph of what the contract says of itself."""
    return " ".join(cleandoc(contract.__doc__ or contract.__name__).partition("\n\n")[0].split())


def _reference(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}
