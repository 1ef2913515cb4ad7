"""Who of a group reads which partitions, where a group reads several topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor


class EvenAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """To each member as much of every topic as to another one. The sticky assignor counts partitions alone, and gives
    the busy topics to one member and the quiet ones to another.

    It goes by the sticky one's name and says of itself what that one does, because members of earlier versions know
    no other; and aiokafka joins a group once for each assignor that it is given, so that two would never be done.
    """

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> Mapping[str, Any]:
        assigned: Mapping[str, Any] = RoundRobinPartitionAssignor.assign(cluster, members)
        return assigned
