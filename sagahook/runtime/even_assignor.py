"""Who of a group reads which partitions, where a group reads several topics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

Shares = dict[str, list[TopicPartition]]
"""By member."""


class EvenAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """To each member as much of every topic as to another one, and of that what it had. The sticky assignor counts
    partitions alone, and gives the busy topics to one member and the quiet ones to another.

    It goes by the sticky one's name and says of itself what that one does, because members of earlier versions know
    no other; and aiokafka joins a group once for each assignor that it is given, so that two would never be done.
    It keeps what it had in class attributes, as the sticky one.
    """

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        had = {name: cls.parse_member_metadata(members[name]).partitions for name in sorted(members)}
        shares: Shares = {name: [] for name in had}
        for topic in sorted({topic for each in members.values() for topic in each.subscription}):
            readers = {name: had[name] for name in had if topic in members[name].subscription}
            share_out(topic, cluster.partitions_for_topic(topic) or (), readers, shares)
        return {
            name: ConsumerProtocolMemberAssignment(cls.version, _by_topic(share), b"")
            for name, share in shares.items()
        }


def share_out(
    topic: str, numbers: Collection[int], had: Mapping[str, Collection[TopicPartition]], shares: Shares
) -> None:
    """Adds the topic's partitions to the shares of those who read it, so that none has two more of them than another.

    had: what each of the readers had before. One that is to have one more is one that has it already, else one with
    little else.
    """
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    owners = {partition: name for name in reversed(list(had)) for partition in had[name]}
    owned = Counter(owners[partition] for partition in partitions if partition in owners)
    least, more = divmod(len(partitions), len(had))
    places = {
        name: least + (at < more)
        for at, name in enumerate(sorted(had, key=lambda name: (-owned[name], len(shares[name]))))
    }
    left = []
    for partition in partitions:
        owner = owners.get(partition)
        if owner is not None and places[owner]:
            places[owner] -= 1
            shares[owner].append(partition)
        else:
            left.append(partition)
    for partition in left:
        name = max(places, key=lambda name: (places[name], -len(shares[name])))
        places[name] -= 1
        shares[name].append(partition)


def _by_topic(share: Collection[TopicPartition]) -> list[tuple[str, list[int]]]:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for topic, number in share:
        numbers[topic].append(number)
    return sorted(numbers.items())
