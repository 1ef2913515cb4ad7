"""Where partitions lie, before anything is asked of them, and where they begin and end."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition


async def look_up(consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]) -> None:
    """The brokers of all the places, in one request. Raises KafkaError.

    A consumer that is asked for offsets in topics that it has not heard of (nothing was assigned) looks for one after
    the other, and waits a tenth of a second for each (aiokafka 0.14).
    """
    client = consumer._client  # the consumer itself has no way to ask for it
    unknown = {topic for topic, _ in places if client.cluster.partitions_for_topic(topic) is None}
    for topic in unknown:
        client.add_topic(topic)
    if unknown:
        await client.force_metadata_update()


async def ranges(
    consumer: AIOKafkaConsumer, places: Collection[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Where each begins and ends now. Raises KafkaError."""
    await look_up(consumer, places)
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return {place: (begins[place], ends[place]) for place in places}
