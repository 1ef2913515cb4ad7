"""What must be done to a deployment's topics so that they are as the registry has them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sagahook_schemas.topics import (
    ALL_TOPICS,
    DEFAULT_PARTITIONS,
    FOREVER,
    Topic,
    is_participant,
    steps_topic,
)

_STEPS = "saga.steps."

Verb = Literal["make", "alter", "refuse", "by hand"]


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as Kafka has it. copies: of the partition that has the fewest. config: the settings in force."""

    partitions: int
    copies: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is `found`, and has to be `wanted`. loses: to set it deletes records."""

    key: str
    found: str | None
    wanted: str
    loses: bool

    def __str__(self) -> str:
        return f"{self.key} is {self.found}, not {self.wanted}"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do with one topic. topic: its full name. then: what a person does, where it is not done for them."""

    verb: Verb
    topic: str
    says: str
    then: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """partitions, copies: of what is made. alter: the settings to set, by topics' full names."""

    partitions: int
    copies: int
    make: tuple[Topic, ...]
    alter: Mapping[str, Mapping[str, str]]
    steps: tuple[Step, ...]

    @property
    def refused(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.verb == "refuse")

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, or nothing that is not done by hand."""
        return all(step.verb == "by hand" for step in self.steps)


def topics_of(prefix: str, names: Collection[str]) -> tuple[Topic, ...]:
    """The registry's, and those of the participants that have any among the names."""
    known = f"{prefix}.{_STEPS}"
    participants = sorted(
        {name.removeprefix(known).removesuffix(".dlq") for name in names if name.startswith(known)}
    )
    steps = [steps_topic(participant) for participant in participants if is_participant(participant)]
    return (*ALL_TOPICS, *steps, *(topic.dead_letters for topic in steps))


def settings_of(topic: Topic, copies: int) -> dict[str, str]:
    """With three copies or more, `acks=all` means that two brokers have the record: one may then be lost."""
    return topic.config() | {"min.insync.replicas": "2" if copies >= 3 else "1"}


def plan_topics(
    prefix: str,
    found: Mapping[str, Found],
    *,
    brokers: int,
    partitions: int | None = None,
    copies: int | None = None,
    allow_loss: bool = False,
) -> Plan:
    """found: the topics there are, by their full names. partitions None: as many as those have, or the usual number.
    copies None: 3, or as many as there are brokers. allow_loss: also what deletes records."""
    topics = topics_of(prefix, found)
    there = {topic.name(prefix): found[topic.name(prefix)] for topic in topics if topic.name(prefix) in found}
    wanted_copies = copies or min(3, brokers)
    count, refused = _partitions(there, partitions)
    make = tuple(topic for topic in topics if topic.name(prefix) not in there)
    steps = [*refused]
    steps += [
        Step("make", topic.name(prefix), f"{count} partitions, copies: {wanted_copies}") for topic in make
    ]
    alter: dict[str, dict[str, str]] = {}
    for topic in topics:
        name = topic.name(prefix)
        if name in there:
            different = differences(topic, there[name])
            steps += _settings(name, different, allow_loss)
            if wanted := {each.key: each.wanted for each in different if allow_loss or not each.loses}:
                alter[name] = wanted
            steps += _copies(name, there[name], wanted_copies)
    return Plan(count, wanted_copies, make, alter, tuple(steps))


def differences(topic: Topic, found: Found) -> tuple[Difference, ...]:
    """The settings that are not the registry's. More copies in sync than we ask for are well, as long as there are as
    many."""
    different = []
    for key, wanted in settings_of(topic, found.copies).items():
        is_now = found.config.get(key)
        if key == "min.insync.replicas" and is_now is not None and int(wanted) <= int(is_now) <= found.copies:
            continue
        if is_now != wanted:
            different.append(Difference(key, is_now, wanted, _loses(topic, key, is_now, wanted)))
    return tuple(different)


def is_endangered(topic: Topic, different: Collection[Difference]) -> bool:
    """Whether records are lost, as the settings are, that are to be kept for ever."""
    return (topic.retention == FOREVER or topic.compacted) and any(
        each.key in {"cleanup.policy", "retention.ms", "retention.bytes"} for each in different
    )


def _loses(topic: Topic, key: str, is_now: str | None, wanted: str) -> bool:
    if key == "cleanup.policy":
        return not topic.compacted and topic.retention != FOREVER
    return key == "retention.ms" and wanted != "-1" and (is_now == "-1" or int(is_now or -1) > int(wanted))


def _partitions(there: Mapping[str, Found], wanted: int | None) -> tuple[int, list[Step]]:
    """The number for what is made, and the topics that have another one."""
    counts = {found.partitions for found in there.values()}
    if len(counts) > 1 and wanted is None:
        listing = ", ".join(f"{name} has {found.partitions}" for name, found in sorted(there.items()))
        why = f"the topics must all have the same number of partitions, and do not ({listing})"
        return max(counts), [Step("refuse", "all topics", why, _ANOTHER_PREFIX)]
    count = wanted or next(iter(counts), DEFAULT_PARTITIONS)
    return count, [
        Step(
            "refuse",
            name,
            f"it has {found.partitions} partitions, not {count}: which saga lives where depends on that number, so it "
            "is fixed for ever",
            f"keep them (--partitions {found.partitions}), or move everything to new ones: sagahook topics repartition "
            "(docs/operating/repartition.md)",
        )
        for name, found in there.items()
        if found.partitions != count
    ]


_ANOTHER_PREFIX = (
    "begin a deployment of its own under another SAGAHOOK_TOPIC_PREFIX (docs/operating/scale.md)"
)


def _settings(name: str, different: Collection[Difference], allow_loss: bool) -> Iterator[Step]:
    change = [each for each in different if allow_loss or not each.loses]
    if change:
        yield Step("alter", name, ", ".join(f"{each.key} {each.found} → {each.wanted}" for each in change))
    for each in different:
        if each.loses and not allow_loss:
            yield Step(
                "refuse",
                name,
                f"{each}: to set it deletes what is older",
                "if that may be lost: sagahook topics apply --allow-loss",
            )


def _copies(name: str, found: Found, wanted: int) -> Iterator[Step]:
    if found.copies < wanted:
        yield Step(
            "by hand",
            name,
            f"it has {found.copies} of {wanted} copies: losing a broker may lose records",
            "kafka-reassign-partitions.sh, to more brokers; then sagahook topics apply again",
        )
