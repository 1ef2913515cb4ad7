"""`sagahook doctor --production`: what of the brokers' own settings decides whether anything is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.cli.doctor_topics import COPIES

OFFSETS_MINUTES = 60 * 24 * 90
"""So long at least a group's offsets must outlive its last member: a deployment may be switched off for a while."""

_INTERNAL = ("__consumer_offsets", "__transaction_state")


async def check_brokers(
    admin: AIOKafkaAdminClient, topics: Mapping[str, Sequence[Mapping[str, Any]]]
) -> AsyncIterator[Line]:
    """topics: the partitions of all that there are. Raises KafkaError."""
    wrong = [*_copies(topics), *_settings(await _of_a_broker(admin))]
    for line in wrong or [ok("brokers", "offsets, transactions and settings are as production needs them")]:
        yield line


def _copies(topics: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Line]:
    """Of what Kafka itself keeps: made at first use, with the brokers' settings of that time."""
    for name in _INTERNAL:
        partitions = topics.get(name)
        if partitions and (fewest := min(len(each["replicas"]) for each in partitions)) < COPIES:
            yield fail(
                "brokers",
                f"{name} has {fewest} of {COPIES} copies: with its broker, who has read what is lost",
                "kafka-reassign-partitions.sh; and set offsets.topic.replication.factor and "
                "transaction.state.log.replication.factor to 3, transaction.state.log.min.isr to 2",
            )


def _settings(config: Mapping[str, str]) -> Iterator[Line]:
    minutes = int(config.get("offsets.retention.minutes") or OFFSETS_MINUTES)
    if minutes < OFFSETS_MINUTES:
        yield warn(
            "brokers",
            f"offsets.retention.minutes is {minutes}: where all runners are off for longer, Kafka forgets how far they "
            "have read, and they refuse to start",
            "set it to 525600 (a year) on all brokers",
        )
    if config.get("auto.create.topics.enable") == "true":
        yield warn(
            "brokers",
            "auto.create.topics.enable is true: a mistyped prefix makes topics of one partition, kept for a week",
            "set it to false on all brokers",
        )


async def _of_a_broker(admin: AIOKafkaAdminClient) -> dict[str, str]:
    """The settings of one of them."""
    cluster = await admin.describe_cluster()
    node = str(cluster["brokers"][0]["node_id"])
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, node)])
    return {
        entry[0]: entry[1]
        for answer in answers
        for code, _, _, _, entries in answer.resources
        if not code
        for entry in entries
    }
