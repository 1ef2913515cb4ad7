"""Where the partitions of many topics lie is asked for once, on a real broker."""

from __future__ import annotations

from itertools import product
from typing import NoReturn

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.topics import TOPICS


async def test_after_one_look_every_place_is_known_and_nothing_more_is_asked(
    kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 2)
    places = [TopicPartition(topic.name(topic_prefix), number) for topic, number in product(TOPICS, range(2))]
    async with AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap) as consumer:
        await look_up(consumer, places)

        def again() -> NoReturn:
            raise AssertionError("it asked again")

        assert all(consumer._client.cluster.partitions_for_topic(topic) == {0, 1} for topic, _ in places)
        with monkeypatch.context() as patch:
            patch.setattr(consumer._client, "force_metadata_update", again)
            await look_up(consumer, places)
        assert await consumer.end_offsets(places) == dict.fromkeys(places, 0)
