"""What the tests of real runners ask of the saga log, and the commands that they put beside it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from sagahook.runtime.ids import new_event_id
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import LIMIT_PREFIX, OWNER_KEY
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.finished import decode_finished, is_finished
from sagahook_runner.domain.shard import is_remembered, is_remembered_in_short
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode_data
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE, WEBHOOKS_ROUTED
from tests.runner_harness import LogEvent, RunnerHarness, poll

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
            partition=partition_of(saga_id, harness.partitions),
        )
    finally:
        await producer.stop()
    return command_id


async def _as_it_is(value: bytes) -> bytes:
    return value


Opened = Callable[[bytes], Awaitable[bytes]]


async def assert_fold_is_snapshots(harness: RunnerHarness, opened: Opened = _as_it_is) -> int:
    """fold(saga.events) = saga.state and what the log tells behind it, for every saga that is kept in full; how many
    those are. No runner may write meanwhile. opened: of what is sealed."""
    async with whole_topic(harness, SAGA_EVENTS.name(harness.prefix)) as records:
        events = [await _event(record, opened) for record in records if b"/" not in record.key]
    folded = _fold(events, {})
    kept, begins = await _kept(harness, opened)
    tail = [each for each in events if each.offset >= begins[each.partition]]
    recovered = {
        saga_id: state for saga_id, state in _fold(tail, kept).items() if not is_remembered_in_short(state)
    }
    for saga_id, state in recovered.items():
        # Through JSON, because that is how a time or a tuple comes back.
        assert state == SagaState.from_json(folded[saga_id].to_json()), saga_id
    assert {key for key, state in folded.items() if not is_remembered(state)} <= recovered.keys()
    return len(recovered)


class _Event(NamedTuple):
    partition: int
    offset: int
    envelope: Envelope
    event: Contract


async def _event(record: ConsumerRecord, opened: Opened) -> _Event:
    envelope = Envelope.from_headers(record.headers)
    event = decode_data(envelope.type, await opened(record.value))
    return _Event(record.partition, record.offset, envelope, event)


def _fold(events: list[_Event], known: Mapping[str, SagaState]) -> dict[str, SagaState]:
    """The newest run of each saga, from how it was known on."""
    states = dict(known)
    for _, _, envelope, event in events:
        state = states.get(envelope.saga_id)
        if state is None or state.run < envelope.run:
            state = SagaState(envelope.saga_id, run=envelope.run)
        if envelope.run == state.run and envelope.sequence > state.sequence:
            states[envelope.saga_id] = SagaState.from_json(evolve(state, event).to_json())
    return states


async def _kept(harness: RunnerHarness, opened: Opened) -> tuple[dict[str, SagaState], dict[int, int]]:
    """The snapshots, and by partition the offset in the log from which on it tells more than they do."""
    newest: dict[bytes, bytes | None] = {}
    begins: dict[int, int] = {}
    async with whole_topic(harness, SAGA_STATE.name(harness.prefix)) as records:
        for record in records:
            newest[record.key] = record.value
            if record.key == OWNER_KEY:
                begins[record.partition] = OwnerRecord.from_record(record).events_from or 0
    states = {}
    for key, value in newest.items():
        if value is None or key == OWNER_KEY or key.startswith(LIMIT_PREFIX.encode()):
            continue
        saga_id = key.decode()
        if is_finished(value):
            known = decode_finished(saga_id, value)
            states[saga_id] = SagaState(
                saga_id, known.run, known.sequence, known.status, name=known.name, version=known.version
            )
        else:
            states[saga_id] = SagaState.from_json(await opened(value))
    return states, begins


@asynccontextmanager
async def whole_topic(harness: RunnerHarness, topic: str) -> AsyncIterator[list]:  # type: ignore[type-arg]
    """Every committed record that is there now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=harness.bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(harness.partitions)]
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


async def all_routed(runners: RunnerHarness, webhooks: int) -> list[str]:
    """As `routed`, once there are so many: a saga may come to its end before its router says that there is one."""
    async with asyncio.timeout(60):
        while len(found := await routed(runners)) < webhooks:
            await asyncio.sleep(0.1)
    return found


async def routed(runners: RunnerHarness) -> list[str]:
    """The ids of the webhooks, once for each time that one was routed."""
    places = [
        TopicPartition(WEBHOOKS_ROUTED.name(runners.prefix), number) for number in range(runners.partitions)
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=runners.bootstrap, isolation_level="read_committed")
    found: list[str] = []
    async with consumer:
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [record.key.decode() for record in records]
    return found
