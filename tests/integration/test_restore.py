"""A partition read back from a real broker: the snapshots there are, and what the saga log tells behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook.saga import Saga, SagaApp, StepContext, step
from sagahook_runner.adapters.owner_record import LAYOUT, OwnerRecord
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_runner.adapters.restore import LogCut, restore
from sagahook_runner.domain.commands import AttemptSucceeded, Command, Start
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.domain.state import SagaState
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.topics import SAGA_EVENTS

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST, SECOND = (f"0000000{number}-0000-5000-8000-000000000000" for number in (1, 2))


class Order(Saga):
    @step
    async def reserve(self, ctx: StepContext) -> None: ...

    @step
    async def charge(self, ctx: StepContext) -> None: ...


class Partition:
    """What its owner holds in memory, and what it has written."""

    def __init__(self, settings: RunnerSettings, writer: TransactionalWriter) -> None:
        self._settings = settings
        self._writer = writer
        self._records = EventRecords(settings, 0, Stamp(NOON, 1))
        self._events = TopicPartition(settings.topic(SAGA_EVENTS), 0)
        self._app = SagaApp([Order()])
        self.held = self._empty()
        self.end = 0

    def _empty(self) -> Shard:
        return Shard(Definitions(self._app.definitions()))

    async def start(self, saga_id: str, event_id: str = "e-1") -> None:
        asked = StartSaga(
            name="order", version=1, source="shop", event_id=event_id, correlation_id="c", context={}
        )
        await self._apply(saga_id, Start(asked))

    async def finish_step(self, saga_id: str, name: str) -> None:
        run = self.held.state(saga_id).run
        await self._apply(saga_id, AttemptSucceeded(run, name, "action", 1, {"of": name}, 1))

    async def run(self, saga_id: str, event_id: str = "e-1") -> None:
        await self.start(saga_id, event_id)
        for name in ("reserve", "charge"):
            await self.finish_step(saga_id, name)

    async def _apply(self, saga_id: str, command: Command) -> None:
        entries = self.held.apply(saga_id, command, NOON).entries
        self.end = (await self._write(self._records.events(entries)))[self._events]

    async def keep(self, saga_id: str) -> None:
        """Its snapshot."""
        finished = self.held.finished.get(saga_id)
        state = self.held.state(saga_id)
        await self._write([self._records.finished(finished) if finished else self._records.snapshot(state)])

    async def forget(self, saga_id: str) -> None:
        await self._write([self._records.forgotten(saga_id)])

    async def say(self, events_from: int | None, *, layout: int = LAYOUT) -> None:
        """The owner's record."""
        record = OwnerRecord(epoch=1, events_from=events_from, layout=layout).to_json()
        await self._write([self._records.owner_record(record)])

    async def _write(self, records: list[OutRecord]) -> dict[TopicPartition, int]:
        return await self._writer.commit(records, {}, "")

    async def restored(self) -> tuple[Shard, frozenset[str]]:
        """As the next owner holds it, and the sagas whose snapshots are behind."""
        shard = self._empty()
        told = await restore(self._settings, 0, shard)
        return shard, told.unkept

    def states(self, shard: Shard | None = None) -> dict[str, SagaState]:
        """Through JSON, because that is how a tuple comes back."""
        return {
            saga_id: SagaState.from_json((shard or self.held).state(saga_id).to_json())
            for saga_id in (FIRST, SECOND)
        }


@pytest_asyncio.fixture
async def partition(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Partition]:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    settings = RunnerSettings(kafka=kafka_bootstrap, topic_prefix=topic_prefix, app="unused")
    writer = TransactionalWriter(kafka_bootstrap, f"{topic_prefix}-owner")
    await writer.start()
    yield Partition(settings, writer)
    await writer.abandon()


async def test_what_has_changed_since_its_snapshot_and_what_has_none_is_told_by_the_log(
    partition: Partition,
) -> None:
    await partition.start(FIRST)
    await partition.keep(FIRST)
    await partition.say(partition.end)
    await partition.finish_step(FIRST, "reserve")
    await partition.start(SECOND)

    shard, unkept = await partition.restored()

    assert partition.states(shard) == partition.states()
    assert shard.state(FIRST).results == {"reserve": {"of": "reserve"}}
    assert unkept == {FIRST, SECOND}


async def test_a_snapshot_that_tells_more_than_the_owner_said_is_not_gone_over_again(
    partition: Partition,
) -> None:
    await partition.say(0)
    await partition.start(FIRST)
    await partition.finish_step(FIRST, "reserve")
    await partition.keep(FIRST)  # and then its owner died

    shard, unkept = await partition.restored()

    assert partition.states(shard) == partition.states()
    assert unkept == set()


async def test_one_that_ended_behind_its_snapshot_is_remembered_as_ended(partition: Partition) -> None:
    await partition.start(FIRST)
    await partition.keep(FIRST)
    await partition.say(partition.end)
    for name in ("reserve", "charge"):
        await partition.finish_step(FIRST, name)

    shard, unkept = await partition.restored()

    assert shard.finished.get(FIRST) == partition.held.finished.get(FIRST)
    assert not shard.is_kept_in_full(FIRST)
    assert unkept == {FIRST}


async def test_another_webhook_for_one_that_had_ended_is_told_once(partition: Partition) -> None:
    await partition.run(FIRST)
    await partition.keep(FIRST)
    await partition.say(partition.end)
    await partition.start(FIRST, event_id="e-2")  # it joins

    shard, _ = await partition.restored()

    assert shard.finished.get(FIRST) == partition.held.finished.get(FIRST)
    assert shard.state(FIRST).sequence == partition.held.state(FIRST).sequence == 7


async def test_a_record_without_an_offset_is_of_a_version_whose_snapshots_tell_everything(
    partition: Partition,
) -> None:
    await partition.start(FIRST)
    await partition.keep(FIRST)
    await partition.start(SECOND)
    await partition.say(None)

    shard, unkept = await partition.restored()

    assert shard.state(FIRST) == SagaState.from_json(partition.held.state(FIRST).to_json())
    assert shard.state(SECOND).status == "NEW"
    assert unkept == set()


@pytest.mark.parametrize("is_said", [True, False], ids=["of another layout", "gone"])
async def test_without_a_record_that_can_be_read_the_whole_log_is_folded(
    partition: Partition, is_said: bool
) -> None:
    await partition.run(FIRST)
    await partition.start(SECOND)
    await partition.forget(FIRST)
    if is_said:
        await partition.say(partition.end, layout=LAYOUT + 1)

    shard, _ = await partition.restored()

    assert partition.states(shard) == partition.states()


async def test_a_log_that_was_cut_behind_its_snapshots_is_an_operators_matter(partition: Partition) -> None:
    await partition.start(FIRST)
    await partition.keep(FIRST)
    await partition.say(partition.end + 10)

    with pytest.raises(LogCut, match="restore both topics of one moment"):
        await partition.restored()
