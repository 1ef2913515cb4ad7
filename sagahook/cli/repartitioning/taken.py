"""What each group has taken of a generation of topics.

This is the one place that knows how the services record it: where that changes, `taken` reads it, `take` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from sagahook.cli.repartitioning.generation import Generation, Refused
from sagahook.saga.brokers import client_options
from sagahook_runner.handlers.rekey import replies_group
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.topics import (
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_REPLIES,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
    Topic,
)

Offsets = dict[TopicPartition, int]

_WRITTEN_BY_TAKING = {SAGA_COMMANDS: SAGA_EVENTS, WEBHOOKS_RECEIVED: WEBHOOKS_ROUTED}
"""What holds something in each partition of which something was taken."""


@dataclass(frozen=True, slots=True)
class Taken:
    """By group, the first offset that it has not taken. exactly: of a service that takes each record once, in all
    partitions. others: participants and whoever else reads, as far as they said."""

    exactly: Mapping[str, Offsets]
    others: Mapping[str, Offsets]

    def of(self, topic: str) -> tuple[str, Offsets] | None:
        """The group that takes each record of the topic once."""
        return next(
            (
                (group, offsets)
                for group, offsets in self.exactly.items()
                if all(place.topic == topic for place in offsets)
            ),
            None,
        )


def settings_of(bootstrap: str, prefix: str) -> RunnerSettings:
    """Of a runner of that generation: it knows the names of groups and transactional ids."""
    return RunnerSettings(kafka=bootstrap, app="none", topic_prefix=prefix)


def groups_of(settings: RunnerSettings) -> dict[str, Topic]:
    """Those that take each record of a topic once."""
    return {
        settings.owners_group: SAGA_COMMANDS,
        settings.router_group: WEBHOOKS_RECEIVED,
        replies_group(settings): SAGA_REPLIES,
        settings.reprocess_group: WEBHOOKS_COMMANDS,
    }


async def taken(admin: AIOKafkaAdminClient, generation: Generation) -> Taken:
    """Raises Refused where Kafka has forgotten it, KafkaError."""
    services = groups_of(settings_of(generation.bootstrap, generation.prefix))
    found: dict[str, Offsets] = {}
    for group in sorted({group for group, *_ in await admin.list_consumer_groups()}):
        offsets = await admin.list_consumer_group_offsets(group)
        mine = {
            place: at.offset for place, at in offsets.items() if place in generation.begins and at.offset >= 0
        }
        if mine:
            found[group] = mine
    exactly = {
        group: _completed(generation, group, topic, found.pop(group, {})) for group, topic in services.items()
    }
    return Taken(exactly, found)


def _completed(generation: Generation, group: str, topic: Topic, offsets: Offsets) -> Offsets:
    written = _WRITTEN_BY_TAKING.get(topic)
    complete: Offsets = {}
    for place in generation.places(topic):
        begin, end = generation.begins[place], generation.ends[place]
        beside = None if written is None else TopicPartition(generation.name(written), place.partition)
        if place not in offsets and beside is not None and generation.ends[beside]:
            raise Refused(
                f"Kafka has forgotten how far {group} has read {place.topic}, partition {place.partition}: set it "
                "first (docs/operating/disaster-recovery.md#offsets-that-are-gone)"
            )
        complete[place] = offsets.get(place, begin)
        if not begin <= complete[place] <= end:
            raise Refused(
                f"{group} has to read offset {complete[place]} of {place.topic}, partition {place.partition}, next, "
                f"but Kafka holds {begin} to {end}: records were lost, or this is not the log that the group has read "
                "(docs/operating/disaster-recovery.md)"
            )
    return complete


async def take(bootstrap: str, group: str, offsets: Offsets) -> None:
    """The group, in which nobody is, goes on there. Raises KafkaError."""
    consumer = AIOKafkaConsumer(**client_options(bootstrap), group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()


def renamed(group: str, old: str, new: str) -> str:
    """The name of the group in the other generation: those that are named after the topics' prefix follow it."""
    rest = group.removeprefix(old)
    return f"{new}{rest}" if rest != group and rest[:1] in "-." else group
