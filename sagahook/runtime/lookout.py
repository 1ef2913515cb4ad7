"""Tells a reader that rests that what somebody waits for is there.

A reader that rests a little longer has fewer batches; one that goes on as soon as there is what is waited for is not
late for it. To look costs less than a batch: nothing is decoded, what comes is only searched for the types of records.
No more than that depends on it. Where it cannot look, or sees something that is not there, the reader rests as long as
it would without.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from sagahook.runtime import kafka_fetch
from sagahook.runtime.kafka_fetch import Offsets
from sagahook.runtime.kafka_leaders import Leaders
from sagahook.runtime.kafka_line import LOOKING

_WAIT_MS = 500
"""How long a broker has nothing to tell before it says so."""

_MOST_BYTES = 32_768
"""Of a partition, in one look: somebody else reads all of it."""


class Lookout:
    """client: a consumer's own; it opens one connection to each leader. sought: the types of records, by topic."""

    def __init__(self, client: AIOKafkaClient, sought: Mapping[str, Collection[str]]) -> None:
        self._leaders = Leaders(client, LOOKING)
        self._sought = {topic: tuple(name.encode() for name in types) for topic, types in sought.items()}
        self._seen: dict[TopicPartition, int] = {}
        """Behind what it has looked at."""
        self._found: dict[TopicPartition, int] = {}
        """Behind the last batch that has what is sought."""
        self._asked: set[int] = set()
        self._looked = asyncio.Event()
        self._is_closed = False

    async def look(self, offsets: Offsets, seconds: float) -> bool:
        """Until there is something behind the offsets, or the time is over; at once where it cannot look everywhere.
        Whether there is something. offsets: where the reader is."""
        wanted = self._leaders.of(place for place in offsets if place.topic in self._sought)
        closed = [leader for leader in wanted if self._leaders.ready(leader) is None]
        if closed or not wanted or self._is_closed:
            return False
        try:
            async with asyncio.timeout(seconds):
                while not any(end > offsets.get(place, end) for place, end in self._found.items()):
                    if self._is_closed or any(map(self._leaders.is_given_up, wanted)):
                        return False
                    self._looked.clear()
                    for leader in wanted.keys() - self._asked:
                        self._ask(leader, wanted[leader], offsets)
                    await self._looked.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Who looks stops."""
        self._is_closed = True
        self._looked.set()
        self._leaders.close()

    def _ask(self, leader: int, places: Iterable[TopicPartition], offsets: Offsets) -> None:
        line = self._leaders.ready(leader)
        if line is None:
            self._go_blind(leader)
            return
        self._asked.add(leader)
        unseen = {place: max(offsets[place], self._seen.get(place, 0)) for place in places}
        line.ask(kafka_fetch.body(unseen, _WAIT_MS, _MOST_BYTES), partial(self._answered, leader))

    def _answered(self, leader: int, told: bytes | KafkaError) -> None:
        self._asked.discard(leader)
        self._looked.set()
        try:
            unread = isinstance(told, KafkaError) or [
                fetched for fetched in kafka_fetch.answer(told) if not self._search(fetched)
            ]
        except (struct.error, UnicodeDecodeError):
            unread = True
        if unread:
            self._go_blind(leader)

    def _go_blind(self, leader: int) -> None:
        self._leaders.give_up(leader)
        self._looked.set()

    def _search(self, fetched: kafka_fetch.Fetched) -> bool:
        """Whether the partition could be read."""
        place = TopicPartition(fetched.topic, fetched.partition)
        if fetched.error:
            self._seen.pop(place, None)
            return False
        sought = self._sought.get(place.topic, ())
        for end, records in kafka_fetch.batches(fetched.records):
            self._seen[place] = end
            if records is None or any(name in records for name in sought):
                self._found[place] = end
        return True
