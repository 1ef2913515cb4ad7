"""Single records of the log, by where they stand."""

import pytest

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.topics import ensure_topics
from sagahook_tracker.adapters.records_at import RecordsAt
from sagahook_tracker.domain.timeline import Place
from tests.tracker_harness import PARTITIONS
from tests.tracker_log import SagaLog, open_writer, received


async def test_records_of_several_partitions_are_read_and_what_is_not_there_is_left_out(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    async with open_writer(kafka_bootstrap, topic_prefix, PARTITIONS) as log:
        for number in range(20):
            wide = "x" * 60_000  # so that not all of them share an answer
            await log.write(
                [received(f"e-{number}", "c"), *SagaLog(f"s-{number}").started("e", "c", text=wide).written]
            )
    records = RecordsAt(kafka_bootstrap, topic_prefix)
    try:
        places = [
            Place(topic, partition, offset)
            for topic in ("saga.events", "webhooks.received")
            for partition in range(PARTITIONS)
            for offset in range(45)
        ]
        found = await records.read([*places, Place("saga.events", 0, 10**9)])
        assert sum(place.topic == "saga.events" for place in found) == 20
        assert sum(place.topic == "webhooks.received" for place in found) == 20
        ids = {
            dict(record.headers)["ce_sagaid"]
            for place, record in found.items()
            if place.topic == "saga.events"
        }
        assert ids == {f"s-{number}".encode() for number in range(20)}
        again = await records.read([next(iter(found))])
        assert again == {place: found[place] for place in again}
        assert await records.read([]) == {}
    finally:
        await records.close()


async def test_a_broker_that_is_away_is_said_so(topic_prefix: str) -> None:
    records = RecordsAt("127.0.0.1:1", topic_prefix, timeout=2.0)
    with pytest.raises(Unavailable, match="does not give records"):
        await records.read([Place("saga.events", 0, 0)])
    await records.close()
