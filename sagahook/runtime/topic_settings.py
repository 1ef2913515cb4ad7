"""Kafka's IncrementalAlterConfigs (KIP-339), which aiokafka lacks: it sets what it names, and leaves the rest.

aiokafka's `alter_configs` sends the older AlterConfigs, which puts every setting that it does not name back to the
cluster's default: also those that operators made.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_TOPIC, _SET = 2, 0
"""Of the protocol: a resource that is a topic; the operation that sets a value."""


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _RequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _SetConfigs(Request[_RequestStruct]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, topics: Mapping[str, Mapping[str, str]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_RequestStruct]) -> _RequestStruct:
        resources = [
            (_TOPIC, name, [(key, _SET, value) for key, value in settings.items()])
            for name, settings in self._topics.items()
        ]
        return request_struct_class(resources, False)


async def set_topic_settings(
    admin: AIOKafkaAdminClient, topics: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """topics: the settings to set, by the topics' full names. Returns, by their names, those that Kafka refused, and
    why. Raises KafkaError."""
    answer = await admin._client.send(admin._client.get_random_node(), _SetConfigs(topics))
    return {
        name: f"{for_code(code).__name__} {message or ''}".rstrip()
        for code, message, _, name in answer.resources
        if code
    }
