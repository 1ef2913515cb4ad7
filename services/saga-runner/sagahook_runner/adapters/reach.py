"""Where the transactions of this service write: commands into every partition, all else into the writer's own."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import TopicPartition

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.undecided import Reach
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE, Topic, steps_topic


def reach(
    settings: ServiceSettings, group: str, own: Iterable[Topic], *, partition: int, partitions: int
) -> Reach:
    """own: what is written besides commands. group: whose offsets go with it."""
    commands = settings.topic(SAGA_COMMANDS)
    own_partitions = {TopicPartition(settings.topic(topic), partition) for topic in own}
    return Reach(
        frozenset(own_partitions | {TopicPartition(commands, number) for number in range(partitions)}), group
    )


def written_by_owners(definitions: Iterable[SagaDefinition]) -> list[Topic]:
    participants = {step.participant for each in definitions for step in each.steps if step.participant}
    return [SAGA_EVENTS, SAGA_STATE, SAGA_COMMANDS.dead_letters, *map(steps_topic, sorted(participants))]
