"""The leaders of partitions, fetched from over lines that are opened in the background: nobody waits for them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

from sagahook.runtime.kafka_fetch import FETCH
from sagahook.runtime.kafka_line import Line, Lines
from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

_CONNECT_SECONDS = 2.0

_SECONDS = 10.0
"""A broker that says nothing for so long is not asked on that connection any more."""

_GIVEN_UP = 1.0
"""Seconds before a broker is asked again that did not answer as it should."""


class Leaders:
    """client: a consumer's own; it opens one connection to each leader. group: see `Lines`."""

    def __init__(self, client: AIOKafkaClient, group: int) -> None:
        self._client = client
        self._lines = Lines(client, FETCH, _SECONDS, group)
        self._given_up_until: dict[int, float] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}

    def of(self, places: Iterable[TopicPartition]) -> Mapping[int, list[TopicPartition]]:
        """By leader. Nothing where a partition has none at the moment."""
        found: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for place in places:
            leader = self._client.cluster.leader_for_partition(place)
            if leader is None or leader < 0:
                return {}
            found[leader].append(place)
        return found

    def ready(self, leader: int) -> Line | None:
        """To be asked. Else it soon will be, unless it was given up a moment ago."""
        if time.monotonic() < self._given_up_until.get(leader, 0.0):
            return None
        self._given_up_until.pop(leader, None)
        line = self._lines.open_to(leader)
        if line is None and leader not in self._opening:
            opening = asyncio.create_task(self._open(leader), name=f"line to broker {leader}")
            self._opening[leader] = opening
            opening.add_done_callback(lambda _: self._opening.pop(leader, None))
        return line

    def give_up(self, leader: int) -> None:
        """For a moment."""
        self._given_up_until[leader] = time.monotonic() + _GIVEN_UP

    def is_given_up(self, leader: int) -> bool:
        """Until `ready` finds that the moment is over."""
        return leader in self._given_up_until

    def close(self) -> None:
        """Nothing is opened any more; lines are closed with the client."""
        for opening in tuple(self._opening.values()):
            opening.cancel()

    async def _open(self, leader: int) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):  # a client connects to one broker after the other
                await self._lines.to(leader)
        except Exception as reason:  # a client has more than KafkaError, and a rest must not end the reader
            log.info("lookout.blind", broker=leader, reason=repr(reason))
            self.give_up(leader)
