"""What the tests of real runners ask of the saga log, and the commands that they put beside it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import reduce

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sagahook.runtime.ids import new_event_id
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.finished import is_finished
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode_data
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness, poll

ENDS = ("saga.completed", "saga.rolled_back", "saga.failed")


class Follower:
    """Reads the saga log on and on. `events`: everything so far, each partition in its own order."""

    def __init__(self, harness: RunnerHarness, consumer: AIOKafkaConsumer) -> None:
        self._harness = harness
        self._consumer = consumer
        self.events: list[LogEvent] = []

    async def until(self, wanted: Callable[[], bool], seconds: float = 120) -> None:
        """Read until what is wanted can be seen. Raises AssertionError with the counts and the runners' last words."""
        try:
            async with asyncio.timeout(seconds):
                while not wanted():
                    self.events += await poll(self._consumer)
                    ended = [process.returncode for process in self._harness.processes]
                    assert set(ended) != {1}, f"no runner is left: {self._harness.logs()[-3000:]}"
        except TimeoutError:
            raise AssertionError(
                f"not seen within {seconds} s; the log holds {self.kinds()}; {self._harness.logs()[-3000:]}"
            ) from None

    async def until_count(self, kind: str, count: int = 1, seconds: float = 120) -> None:
        await self.until(lambda: self.kinds()[kind] >= count, seconds)

    async def until_ended(self, sagas: int, seconds: float = 120) -> None:
        """Until so many runs are completed, rolled back or failed."""
        await self.until(lambda: sum(self.kinds()[end] for end in ENDS) >= sagas, seconds)

    def kinds(self) -> Counter[str]:
        return Counter(event.kind for event in self.events)

    def of(self, saga_id: str, run: int | None = None) -> list[LogEvent]:
        return [
            event
            for event in self.events
            if event.envelope.saga_id == saga_id and run in (None, event.envelope.run)
        ]

    def story(self, saga_id: str, run: int | None = None) -> list[str]:
        """The kinds of a saga's events, each with its step."""
        return [" ".join(filter(None, (e.kind, e.data.get("step")))) for e in self.of(saga_id, run)]

    def named(self, name: str) -> str:
        """The id of the only saga of that name."""
        (found,) = {
            e.envelope.saga_id for e in self.events if e.envelope.saga_id and e.envelope.subject == name
        }
        return found

    def started(self, key: str, value: object) -> str:
        """The id of the saga whose context says so."""
        found = {
            e.envelope.saga_id
            for e in self.events
            if e.kind == "saga.started" and e.data["context"].get(key) == value
        }
        (saga_id,) = found
        return saga_id

    def assert_sound(self) -> None:
        """Each run's sequence is contiguous and begins at 1; no epoch ever comes back."""
        runs: dict[tuple[str, int], list[int]] = {}
        epochs: dict[int, list[int]] = {}
        for event in self.events:
            envelope = event.envelope
            if envelope.saga_id:
                runs.setdefault((envelope.saga_id, envelope.run), []).append(envelope.sequence)
            epochs.setdefault(event.partition, []).append(envelope.epoch)
        for run, sequences in runs.items():
            assert sequences == list(range(1, len(sequences) + 1)), run
        for partition, seen in epochs.items():
            assert seen == sorted(seen), partition


@asynccontextmanager
async def following(harness: RunnerHarness) -> AsyncIterator[Follower]:
    async with harness.reader() as consumer:
        yield Follower(harness, consumer)


async def put_command(harness: RunnerHarness, saga_id: str, command: Contract) -> str:
    """Ask the saga's owner for it, as the status API does; the command's id."""
    command_id = new_event_id()
    envelope = Envelope(
        id=command_id, source="/tests", type=command.ce_type, time=datetime.now(UTC), saga_id=saga_id
    )
    producer = AIOKafkaProducer(bootstrap_servers=harness.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(
            SAGA_COMMANDS.name(harness.prefix),
            key=saga_id.encode(),
            value=command.to_json(),
            headers=envelope.to_headers(),
            partition=partition_of(saga_id, PARTITIONS),
        )
    finally:
        await producer.stop()
    return command_id


async def _as_it_is(value: bytes) -> bytes:
    return value


Opened = Callable[[bytes], Awaitable[bytes]]


async def assert_fold_is_snapshots(harness: RunnerHarness, opened: Opened = _as_it_is) -> int:
    """fold(saga.events) = saga.state, for every saga that is kept in full; how many those are. No runner may write
    meanwhile. opened: of what is sealed."""
    folded = await _fold(harness, opened)
    snapshots = await _newest(harness, SAGA_STATE.name(harness.prefix))
    kept = {key: value for key, value in snapshots.items() if key in folded and not is_finished(value)}
    for saga_id, value in kept.items():
        # Through JSON, because that is how a time or a tuple comes back.
        assert SagaState.from_json(await opened(value)) == SagaState.from_json(folded[saga_id].to_json()), (
            saga_id
        )
    live = {key for key, state in folded.items() if state.status not in ("COMPLETED", "ROLLED_BACK")}
    assert live <= kept.keys()
    return len(kept)


async def _fold(harness: RunnerHarness, opened: Opened) -> dict[str, SagaState]:
    runs: dict[tuple[str, int], list[Contract]] = {}
    async with whole_topic(harness, SAGA_EVENTS.name(harness.prefix)) as records:
        for record in records:
            envelope = Envelope.from_headers(record.headers)
            if envelope.saga_id:
                event = decode_data(envelope.type, await opened(record.value))
                runs.setdefault((envelope.saga_id, envelope.run), []).append(event)
    return {
        saga_id: reduce(evolve, events, SagaState(saga_id, run=run))
        for (saga_id, run), events in sorted(runs.items())
    }


async def _newest(harness: RunnerHarness, topic: str) -> dict[str, bytes]:
    async with whole_topic(harness, topic) as records:
        newest = {record.key.decode(): record.value for record in records}
    return {key: value for key, value in newest.items() if value is not None}


@asynccontextmanager
async def whole_topic(harness: RunnerHarness, topic: str) -> AsyncIterator[list]:  # type: ignore[type-arg]
    """Every committed record that is there now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=harness.bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        records = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                fetched = await consumer.getmany(place, timeout_ms=50)
                records += fetched.get(place, [])
        yield records
    finally:
        await consumer.stop()


def shuffled(values: list[object], seed: int) -> list[object]:
    mixed = list(values)
    random.Random(seed).shuffle(mixed)
    return mixed


def broken_runs(events: list[LogEvent]) -> dict[str, list[str]]:
    """Of the sagas whose sequence is not contiguous and unique: what the log holds, as `sequence kind @offset`."""
    runs: dict[str, list[LogEvent]] = {}
    for event in events:
        if event.envelope.saga_id:
            runs.setdefault(f"{event.partition}: {event.envelope.saga_id}", []).append(event)
    return {
        saga: [f"{event.envelope.sequence} {event.kind} @{event.offset}" for event in run]
        for saga, run in runs.items()
        if [event.envelope.sequence for event in run] != list(range(1, len(run) + 1))
    }
