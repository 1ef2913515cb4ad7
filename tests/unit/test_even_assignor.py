"""Each member of a group has its share of every topic, whatever it had before."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from sagahook.runtime.even_assignor import EvenAssignor

TOPICS = ("audit", "definitions", "events", "received")


def assigned(partitions: int, before: dict[str, list[TopicPartition]]) -> dict[str, Counter[str]]:
    """How many partitions of each topic each member gets. before: what it had in the last generation."""
    cluster = SimpleNamespace(partitions_for_topic=lambda _: set(range(partitions)))
    members = {
        name: StickyPartitionAssignor._metadata(list(TOPICS), had, generation=1)
        for name, had in before.items()
    }
    found = EvenAssignor.assign(cluster, members)
    return {
        name: Counter({topic: len(numbers) for topic, numbers in assignment.assignment})
        for name, assignment in found.items()
    }


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("partitions", [2, 3, 4, 12])
def test_each_member_gets_as_much_of_every_topic_as_another_one_or_one_less(
    members: int, partitions: int
) -> None:
    found = assigned(partitions, {f"member {number}": [] for number in range(members)})

    for topic in TOPICS:
        counts = [has[topic] for has in found.values()]
        assert sum(counts) == partitions
        assert max(counts) - min(counts) <= 1


def test_one_that_had_everything_gives_away_half_of_every_topic() -> None:
    everything = [TopicPartition(topic, number) for topic in TOPICS for number in range(2)]

    found = assigned(2, {"old": everything, "new": []})

    assert found == {name: Counter(dict.fromkeys(TOPICS, 1)) for name in ("old", "new")}


def test_members_of_earlier_versions_share_a_protocol_with_it() -> None:
    assert EvenAssignor.name == StickyPartitionAssignor.name
    assert EvenAssignor.metadata({"events"}).encode() == StickyPartitionAssignor.metadata({"events"}).encode()
