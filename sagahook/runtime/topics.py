"""Topics as they are in Kafka: made once with recorded partition counts, and checked by every service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from sagahook.runtime.logging import get_logger
from sagahook_schemas.topics import ALL_TOPICS, SAGA_EVENTS, Topic

log = get_logger(__name__)


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
    topics: Iterable[Topic] = ALL_TOPICS,
) -> None:
    """Make the topics that are missing. `replication_factor` None: 3, or as many as there are brokers.

    Raises TopicsMismatch where a topic exists with another number of partitions: which saga lives where
    depends on that number.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        brokers = len((await admin.describe_cluster())["brokers"])
        response = await admin.create_topics(
            [
                NewTopic(
                    name=topic.name(prefix),
                    num_partitions=partitions,
                    replication_factor=replication_factor or min(3, brokers),
                    topic_configs=topic.config(),
                )
                for topic in topics
            ]
        )
        for name, code, *message in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise TopicsMismatch(f"Kafka refused to make the topic {name}: {error.__name__} {message}")
        await _await_visible(admin, {topic.name(prefix) for topic in topics})
    finally:
        await admin.close()
    found = await partition_count(bootstrap, prefix)
    if found != partitions:
        raise TopicsMismatch(
            f"the topics of prefix {prefix!r} have {found} partitions, not {partitions}: keep {found}, "
            "or choose another topic prefix"
        )


async def partition_count(bootstrap: str, prefix: str) -> int:
    """The number of partitions this deployment's topics were made with.

    Raises TopicsMismatch where topics are missing or do not agree.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = [topic.name(prefix) for topic in ALL_TOPICS]
        described = await admin.describe_topics(names)
    finally:
        await admin.close()
    counts = {entry["topic"]: len(entry["partitions"]) for entry in described if not entry["error_code"]}
    missing = sorted(set(names) - counts.keys())
    if missing:
        raise TopicsMissing(
            f"the topics {', '.join(missing)} do not exist: run `sagahook topics create --kafka {bootstrap} "
            f"--prefix {prefix}`"
        )
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        raise TopicsMismatch(
            f"the topics of prefix {prefix!r} must all have the same number of partitions ({listing})"
        )
    return counts[SAGA_EVENTS.name(prefix)]


async def await_partition_count(bootstrap: str, prefix: str, stopping: asyncio.Event) -> int | None:
    """As `partition_count`, but waits while Kafka is away or the topics are not made yet; None when stopped."""
    while not stopping.is_set():
        try:
            return await partition_count(bootstrap, prefix)
        except (KafkaError, OSError, TopicsMissing) as waiting:
            log.warning("topics.waiting", error=str(waiting))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1.0)
    return None


async def _await_visible(admin: AIOKafkaAdminClient, names: set[str], timeout: float = 30.0) -> None:
    """A topic that was just made is not in every broker's metadata at once."""
    async with asyncio.timeout(timeout):
        while True:
            described = await admin.describe_topics(sorted(names))
            if all(
                not entry["error_code"] and all(partition["leader"] >= 0 for partition in entry["partitions"])
                for entry in described
            ):
                return
            await asyncio.sleep(0.05)
