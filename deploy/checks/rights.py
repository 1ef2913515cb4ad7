"""What each service may do in Kafka, from the registry's writers and readers and the groups and ids in its settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sagahook_notifier.settings import NotifierSettings
from sagahook_runner.handlers.rekey import replies_group
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.topics import ALL_TOPICS, DEAD_LETTER_TOPICS
from sagahook_tracker.settings import TrackerSettings

STEPS = "saga.steps."
"""What the names of the participants' topics begin with; the runner makes them when they are deployed."""

USERS = {
    "ingest": "sagahook-ingest",
    "saga-runner": "sagahook-runner",
    "tracker": "sagahook-tracker",
    "notifier": "sagahook-notifier",
    "operators": "sagahook-operator",
}
"""The name of each writer and reader of the registry that we deploy → its KafkaUser. Participants have their own."""

Resource = Literal["topic", "group", "transactionalId", "cluster"]


@dataclass(frozen=True, slots=True)
class Right:
    """prefix: `name` is what the names begin with. Read, Write and the like include Describe, as Kafka has it."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefix: bool = False


def rights(service: str, prefix: str) -> list[Right]:
    """service: as the registry calls it. prefix: the topics'."""
    found = [*_of_everyone(prefix), *_of_topics(service, prefix)]
    if service == "saga-runner":
        found += _of_runner(prefix)
    elif service == "tracker":
        found += _of_tracker(prefix)
    elif service == "notifier":
        found.append(Right("group", _notifier_group(prefix), ("Read",)))
    elif service == "operators":
        found += _of_operators(prefix)
    return found


def _of_everyone(prefix: str) -> Iterator[Right]:
    """Every service counts the partitions of all topics before it begins, and refuses where they differ."""
    yield Right("topic", f"{prefix}.", ("Describe",), prefix=True)


def _of_topics(service: str, prefix: str) -> Iterator[Right]:
    for topic in ALL_TOPICS:
        operations = ["Read"] * (service in topic.readers) + ["Write"] * (service in topic.writers)
        if operations:
            yield Right("topic", topic.name(prefix), tuple(operations))


def _of_runner(prefix: str) -> Iterator[Right]:
    settings = RunnerSettings(kafka="any:9092", app="any", topic_prefix=prefix)
    yield Right("topic", f"{prefix}.{STEPS}", ("Create", "Write"), prefix=True)
    groups = (settings.owners_group, settings.router_group, settings.reprocess_group, replies_group(settings))
    for group in groups:
        yield Right("group", group, ("Read",))
        # One id for each partition: <group>-<partition>.
        yield Right("transactionalId", f"{group}-", ("Write",), prefix=True)


def _of_tracker(prefix: str) -> Iterator[Right]:
    settings = TrackerSettings(kafka="any:9092", database_url="postgresql://any", topic_prefix=prefix)
    # A rebuild reads in a group of its own, named after this one.
    yield Right("group", settings.group, ("Read",), prefix=True)
    yield from _dead_letters(prefix)


def _dead_letters(prefix: str) -> Iterator[Right]:
    """Those of all topics are shown; the participants' are known by their prefix alone."""
    for topic in DEAD_LETTER_TOPICS:
        yield Right("topic", topic.name(prefix), ("Read",))
    yield Right("topic", f"{prefix}.{STEPS}", ("Read",), prefix=True)


def _notifier_group(prefix: str) -> str:
    settings = NotifierSettings(
        kafka="any:9092", database_url="postgresql://any", secret_key="x" * 32, topic_prefix=prefix
    )
    return settings.group


def _of_operators(prefix: str) -> Iterator[Right]:
    """`sagahook doctor`, `topics apply`, `dlq redrive`, `history`: for people, not for pods of services."""
    yield Right("cluster", "", ("Describe", "DescribeConfigs"))
    # Whether Kafka's own topics have their copies.
    for name in ("__consumer_offsets", "__transaction_state"):
        yield Right("topic", name, ("Describe",))
    every = ("Read", "Create", "DescribeConfigs", "AlterConfigs")
    yield Right("topic", f"{prefix}.", every, prefix=True)
    yield Right("group", prefix, ("Describe",), prefix=True)
    # A redrive puts back what asks for something, marks what it took, and says so.
    for base in ("saga.commands", "saga.replies", "webhooks.commands", "audit"):
        yield Right("topic", f"{prefix}.{base}", ("Write",))
    for topic in DEAD_LETTER_TOPICS:
        yield Right("topic", topic.name(prefix), ("Write",))
    yield Right("topic", f"{prefix}.{STEPS}", ("Write",), prefix=True)
    yield Right("transactionalId", f"{prefix}-redrive-", ("Write",), prefix=True)
    # The topic of a moment in which the doctor reads the broker's clock.
    yield Right("topic", f"{prefix}.doctor-", ("Write", "Delete"), prefix=True)


def merged(found: list[Right]) -> list[Right]:
    """One for each resource, with the operations of all that name it, in the order in which they came."""
    operations: dict[tuple[Resource, str, bool], dict[str, None]] = {}
    for each in found:
        key = (each.resource, each.name, each.prefix)
        operations.setdefault(key, {}).update(dict.fromkeys(each.operations))
    return [Right(key[0], key[1], tuple(said), key[2]) for key, said in operations.items()]
