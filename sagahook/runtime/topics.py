"""Topics as they are in Kafka: made once with recorded partition counts, and checked by every service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from sagahook.runtime.kafka_reaching import why_away
from sagahook.runtime.logging import get_logger
from sagahook.runtime.topic_plan import Found, Plan, plan_topics, settings_of, topics_of
from sagahook.runtime.topic_settings import set_topic_settings
from sagahook.saga.brokers import client_options
from sagahook_schemas.generations import why_not
from sagahook_schemas.topics import ALL_TOPICS, SAGA_EVENTS, Topic

log = get_logger(__name__)

VISIBLE_SECONDS = 30.0
"""How long a topic that was just made may take to be in the broker's metadata."""


class TopicsMismatch(Exception):
    """An operator must act: the topics are not as this deployment needs them."""


class TopicsMissing(TopicsMismatch):
    """The topics are not there yet: wait, or make them."""


async def ensure_topics(
    bootstrap: str,
    prefix: str,
    partitions: int,
    *,
    replication_factor: int | None = None,
    topics: Sequence[Topic] = ALL_TOPICS,
) -> tuple[str, ...]:
    """Make those of the topics that are missing, and return their names. `replication_factor` None: 3, or as many
    as there are brokers.

    Raises TopicsMismatch, and makes nothing, where a topic exists with another number of partitions: which
    saga lives where depends on that number.
    """
    async with open_admin(bootstrap) as admin:
        there = await _described(admin, prefix, topics)
        _check_partitions(there, prefix, partitions)
        missing = [topic for topic in topics if topic.name(prefix) not in there]
        if missing:
            copies = replication_factor or min(3, len((await admin.describe_cluster())["brokers"]))
            await _make(admin, prefix, missing, partitions, copies)
        _check_partitions(await await_visible(admin, prefix, topics), prefix, partitions)
    return tuple(topic.name(prefix) for topic in missing)


async def look_at_topics(
    bootstrap: str,
    prefix: str,
    *,
    partitions: int | None = None,
    copies: int | None = None,
    allow_loss: bool = False,
) -> Plan:
    """What `apply_topics` would do; the parameters are those of `plan_topics`. Raises KafkaError, OSError;
    TopicsMismatch where the topics are not to be used."""
    async with open_admin(bootstrap) as admin:
        _check_generation(prefix, await admin.list_topics())
        brokers = len((await admin.describe_cluster())["brokers"])
        found = await found_topics(admin, prefix)
    return plan_topics(
        prefix, found, brokers=brokers, partitions=partitions, copies=copies, allow_loss=allow_loss
    )


async def apply_topics(bootstrap: str, prefix: str, plan: Plan) -> None:
    """Make and alter what the plan says. Two may do it at once: what is there already, or set already, is well.

    Raises TopicsMismatch where Kafka refuses, or where the plan does, and then nothing was done; KafkaError, OSError.
    """
    if plan.refused:
        raise TopicsMismatch("; ".join(f"{step.topic}: {step.says}: {step.then}" for step in plan.refused))
    async with open_admin(bootstrap) as admin:
        if plan.make:
            await _make(admin, prefix, plan.make, plan.partitions, plan.copies)
            _check_partitions(await await_visible(admin, prefix, plan.make), prefix, plan.partitions)
        if plan.alter:
            for name, why in (await set_topic_settings(admin, plan.alter)).items():
                raise TopicsMismatch(f"Kafka refused the settings of the topic {name}: {why}")


async def topics_there(bootstrap: str, prefix: str) -> dict[str, Found]:
    """As `found_topics`. Raises KafkaError, OSError."""
    async with open_admin(bootstrap) as admin:
        return await found_topics(admin, prefix)


async def found_topics(admin: AIOKafkaAdminClient, prefix: str) -> dict[str, Found]:
    """The deployment's topics that are there, those of participants too, by their full names."""
    described = {
        topic["topic"]: topic["partitions"]
        for topic in await admin.describe_topics()
        if not topic["error_code"]
    }
    ours = {topic.name(prefix) for topic in topics_of(prefix, described)}
    there = {name: partitions for name, partitions in described.items() if name in ours}
    if not there:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in there])
    configs = {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _, _, name, entries in answer.resources
        if not code
    }
    return {
        name: Found(len(parts), min(len(part["replicas"]) for part in parts), configs[name])
        for name, parts in there.items()
        if name in configs  # one that was deleted in between is not there
    }


async def _make(
    admin: AIOKafkaAdminClient, prefix: str, topics: Sequence[Topic], partitions: int, copies: int
) -> None:
    await make_topics(
        admin,
        [
            NewTopic(topic.name(prefix), partitions, copies, topic_configs=settings_of(topic, copies))
            for topic in topics
        ],
    )


async def make_topics(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> None:
    """One that is there already is well. Raises TopicsMismatch where Kafka refuses."""
    response = await admin.create_topics(topics)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        # Another process may make the same topics at this moment.
        if code and error is not TopicAlreadyExistsError:
            raise TopicsMismatch(
                f"Kafka refused to make the topic {name}: {error.__name__} {' '.join(map(str, message))}"
            )


async def partition_count(bootstrap: str, prefix: str) -> int:
    """The number of partitions this deployment's topics were made with.

    Raises TopicsMismatch where topics are missing or do not agree, or are those of a generation that is not to be used.
    """
    async with open_admin(bootstrap) as admin:
        described = await admin.describe_topics()
    _check_generation(prefix, [topic["topic"] for topic in described])
    there = _of_them(described, prefix, ALL_TOPICS)
    missing = [name for topic in ALL_TOPICS if (name := topic.name(prefix)) not in there]
    if missing:
        raise TopicsMissing(
            f"the topics {', '.join(missing)} do not exist: run `sagahook topics apply --kafka {bootstrap} "
            f"--prefix {prefix}`"
        )
    counts = {name: len(topic["partitions"]) for name, topic in there.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        raise TopicsMismatch(
            f"the topics of prefix {prefix!r} must all have the same number of partitions ({listing})"
        )
    return counts[SAGA_EVENTS.name(prefix)]


async def await_partition_count(bootstrap: str, prefix: str, stopping: asyncio.Event) -> int | None:
    """As `partition_count`, but waits while Kafka is away or the topics are not made yet; None when stopped."""
    said = ""
    while not stopping.is_set():
        try:
            return await partition_count(bootstrap, prefix)
        except (KafkaError, OSError) as away:
            why = await why_away(bootstrap, away)
        except TopicsMissing as missing:
            why = str(missing)
        if why != said:
            log.warning("topics.waiting", error=why)
            said = why
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 1.0)
    return None


@contextlib.asynccontextmanager
async def open_admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises KafkaError, OSError."""
    admin = AIOKafkaAdminClient(**client_options(bootstrap))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _described(
    admin: AIOKafkaAdminClient, prefix: str, topics: Sequence[Topic]
) -> dict[str, Mapping[str, Any]]:
    """Those that exist, by name. It asks for all topics, because to ask for one by name makes it on a broker with
    auto-creation."""
    return _of_them(await admin.describe_topics(), prefix, topics)


def _of_them(
    described: Sequence[Mapping[str, Any]], prefix: str, topics: Sequence[Topic]
) -> dict[str, Mapping[str, Any]]:
    names = {topic.name(prefix) for topic in topics}
    return {
        topic["topic"]: topic for topic in described if topic["topic"] in names and not topic["error_code"]
    }


def _check_generation(prefix: str, names: Sequence[str]) -> None:
    if why := why_not(prefix, names):
        raise TopicsMismatch(why)


def _check_partitions(there: Mapping[str, Mapping[str, Any]], prefix: str, partitions: int) -> None:
    for name, topic in there.items():
        found = len(topic["partitions"])
        if found != partitions:
            raise TopicsMismatch(
                f"the topic {name} has {found} partitions, not {partitions}: keep {found}, or choose another "
                f"topic prefix than {prefix!r}"
            )


async def await_visible(
    admin: AIOKafkaAdminClient, prefix: str, topics: Sequence[Topic]
) -> dict[str, Mapping[str, Any]]:
    """A topic that was just made is not in every broker's metadata at once."""
    async with asyncio.timeout(VISIBLE_SECONDS):
        while True:
            there = await _described(admin, prefix, topics)
            if len(there) == len(topics) and all(
                partition["leader"] >= 0 for topic in there.values() for partition in topic["partitions"]
            ):
                return there
            await asyncio.sleep(0.05)
