"""The AsyncAPI document says of the public topics what the registry and the contracts say."""

import json
from collections.abc import Iterator
from typing import Any

from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook_schemas.asyncapi import CONSUMERS, asyncapi, public_topics, types_of
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_REPLIES, Topic, steps_topic

DOCUMENT = asyncapi({})
PRIVATE = ("sagahook.command.",)
"""What services ask each other; people and other systems ask by the API."""


def key_of(topic: Topic) -> str:
    return "saga.steps" if topic.base == steps_topic("participant").base else topic.base


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def found(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_every_type_but_commands_is_on_exactly_one_public_topic() -> None:
    placed = [ce_type for topic in public_topics() for ce_type in types_of(topic) if ce_type in CONTRACTS]

    assert sorted(placed) == sorted(ce_type for ce_type in CONTRACTS if not ce_type.startswith(PRIVATE))


def test_every_public_topic_is_a_channel_with_its_partitions_retention_and_clean_up() -> None:
    assert DOCUMENT["channels"].keys() == {key_of(topic) for topic in public_topics()}
    for topic in public_topics():
        binding = DOCUMENT["channels"][key_of(topic)]["bindings"]["kafka"]
        told = binding["topicConfiguration"]
        settings = topic.config()
        assert binding["partitions"] == 4
        assert told["cleanup.policy"] == [settings["cleanup.policy"]]
        assert told.get("retention.ms", "") == (int(settings["retention.ms"]) if not topic.compacted else "")
        assert told["max.message.bytes"] == int(settings["max.message.bytes"])


def test_every_writer_sends_and_every_reader_receives_and_any_other_system_receives_what_is_no_dialogue() -> (
    None
):
    said = {
        (each["tags"][0]["name"], each["action"], each["channel"]["$ref"].removeprefix("#/channels/"))
        for each in DOCUMENT["operations"].values()
    }

    registered = {(party, "send", key_of(topic)) for topic in public_topics() for party in topic.writers}
    registered |= {(party, "receive", key_of(topic)) for topic in public_topics() for party in topic.readers}
    dialogue = {key_of(SAGA_REPLIES), "saga.steps"}
    others = {
        (CONSUMERS, "receive", key_of(topic)) for topic in public_topics() if key_of(topic) not in dialogue
    }
    assert said == registered | others


def test_every_message_names_its_headers_and_its_value() -> None:
    for name, message in DOCUMENT["components"]["messages"].items():
        headers = (
            message["headers"]["properties"]
            if "properties" in message["headers"]
            else found(message["headers"]["allOf"][0]["$ref"])["properties"]
        )
        assert {"ce_id", "ce_type", "ce_time", "content-type"} <= headers.keys(), name
        assert name not in CONTRACTS or found(message["payload"]["$ref"])["title"] == CONTRACTS[name].__name__


def test_every_reference_leads_to_something_within_the_document() -> None:
    named = set(references(DOCUMENT))

    assert len(named) > len(CONTRACTS)
    assert all(found(reference) is not None for reference in named)


def test_a_deployment_prints_its_own_with_its_prefix_and_its_number_of_partitions() -> None:
    printed = CliRunner().invoke(app, ["topics", "asyncapi", "--prefix", "acme", "--partitions", "12"])

    channel = json.loads(printed.stdout)["channels"][SAGA_EVENTS.base]
    assert channel["address"] == "acme.saga.events"
    assert channel["bindings"]["kafka"]["partitions"] == 12
