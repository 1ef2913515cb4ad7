"""Each member of a group has its share of every topic, and of that what it had before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace

import pytest
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from sagahook.runtime.even_assignor import EvenAssignor

TOPICS = ("audit", "definitions", "events", "received")

Shares = dict[str, set[TopicPartition]]


def everything(partitions: int) -> set[TopicPartition]:
    return {TopicPartition(topic, number) for topic in TOPICS for number in range(partitions)}


def assigned(
    partitions: int, before: Mapping[str, Collection[TopicPartition]], topics: Collection[str] = TOPICS
) -> Shares:
    """What each member gets. before: what it had in the last generation. topics: those that all subscribe to."""
    cluster = SimpleNamespace(partitions_for_topic=lambda _: set(range(partitions)))
    members = {
        name: StickyPartitionAssignor._metadata(list(topics), list(had), generation=1)
        for name, had in before.items()
    }
    return {
        name: {TopicPartition(topic, number) for topic, numbers in found.assignment for number in numbers}
        for name, found in EvenAssignor.assign(cluster, members).items()
    }


def is_even(shares: Shares, partitions: int) -> bool:
    given = [partition for share in shares.values() for partition in share]
    counts = [[sum(each.topic == topic for each in share) for share in shares.values()] for topic in TOPICS]
    return sorted(given) == sorted(everything(partitions)) and all(
        max(each) - min(each) <= 1 for each in counts
    )


@pytest.mark.parametrize("members", [1, 2, 3, 5])
@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 12])
def test_each_member_gets_as_much_of_every_topic_as_another_one_or_one_less(
    members: int, partitions: int
) -> None:
    shares = assigned(partitions, {f"member {number}": () for number in range(members)})

    assert is_even(shares, partitions)
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1, "what is left over of a topic goes to those with little else"


def test_one_that_had_everything_gives_away_half_of_every_topic() -> None:
    shares = assigned(2, {"new": (), "old": everything(2)})

    assert is_even(shares, 2)
    assert shares["old"] < everything(2)


def test_a_member_that_is_replaced_leaves_what_it_had_to_its_successor_and_nothing_else_moves() -> None:
    before = assigned(2, {"one": (), "two": ()})

    beside = assigned(2, {**before, "three": ()})
    after = assigned(2, {"two": beside["two"], "three": beside["three"]})

    assert beside == {**before, "three": set()}
    assert after == {"two": before["two"], "three": before["one"]}


def test_a_third_member_takes_of_each_topic_what_evens_it_out_and_no_more() -> None:
    before = assigned(4, {"one": (), "two": ()})

    after = assigned(4, {**before, "three": ()})

    assert is_even(after, 4)
    assert all(after[name] <= before[name] for name in before)


def test_what_two_say_they_had_is_given_to_one_of_them() -> None:
    shares = assigned(2, {"stale": everything(2), "present": everything(2)})

    assert is_even(shares, 2)


def test_members_of_earlier_versions_share_a_protocol_with_it() -> None:
    assert EvenAssignor.name == StickyPartitionAssignor.name
    assert EvenAssignor.metadata({"events"}).encode() == StickyPartitionAssignor.metadata({"events"}).encode()
