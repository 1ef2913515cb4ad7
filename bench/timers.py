"""How late durable timers fire: 100,000 sagas sleep, and all wake within a minute.

    python -m bench.timers [SAGAS SECONDS]

On a broker of its own: the sagas stand in `saga.state` as a runner leaves them; a real runner restores them and wakes
each. Lateness is from when it is due until a reader of the log sees it awake, and until its owner decided it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.broker import long_lived_broker
from bench.runner import PARTITIONS, _poll, _reader, _runner
from bench.sleeper_app import Sleeper
from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import OWNER_KEY
from sagahook_runner.domain.state import Open, SagaState
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_STATE

SAGAS, SECONDS = 100_000, 60.0
_HEAD_START = timedelta(seconds=45)
"""Until the first timer: the sagas have to be written and restored before."""

_AWAKE = b"sagahook.step.completed.v1"
_SPACE = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1eeee")


async def measure(bootstrap: str, sagas: int = SAGAS, seconds: float = SECONDS) -> dict[str, float]:
    """Milliseconds; `early` counts those that woke before their time."""
    prefix = f"timers-{os.urandom(4).hex()}"
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    first = datetime.now(UTC) + _HEAD_START
    due = {
        str(uuid5(_SPACE, str(number))): first + timedelta(seconds=seconds * number / sagas)
        for number in range(sagas)
    }
    await _fill(bootstrap, prefix, due)
    async with _reader(bootstrap, prefix) as reader, _runner(bootstrap, prefix, "bench.sleeper_app"):
        seen, decided = await _awakenings(reader, due)
    return {
        "seen_late_p50_ms": _percentile(seen, 0.5),
        "seen_late_p99_ms": _percentile(seen, 0.99),
        "decided_late_p50_ms": _percentile(decided, 0.5),
        "decided_late_p99_ms": _percentile(decided, 0.99),
        "early": float(sum(late < 0 for late in decided)),
    }


async def _awakenings(reader: AIOKafkaConsumer, due: dict[str, datetime]) -> tuple[list[float], list[float]]:
    """Seconds of lateness of every saga: as seen, and as decided."""
    seen: list[float] = []
    decided: list[float] = []
    while len(seen) < len(due):
        for record in await _poll(reader):
            headers = dict(record.headers)
            if headers["ce_type"] == _AWAKE:
                at = due[record.key.decode()].timestamp()
                seen.append(time.time() - at)
                # Times in the log are cut to the millisecond.
                decided.append((record.timestamp + 1) / 1000 - at)
    return seen, decided


async def _fill(bootstrap: str, prefix: str, due: dict[str, datetime]) -> None:
    topic, now_ms = SAGA_STATE.name(prefix), int(time.time() * 1000)
    records: list[list[OutRecord]] = [[] for _ in range(PARTITIONS)]
    for saga_id, wakes_at in due.items():
        partition = partition_of(saga_id, PARTITIONS)
        value = _sleeping(saga_id, wakes_at).to_json()
        records[partition].append(OutRecord(topic, partition, saga_id.encode(), value, [], now_ms))
    for partition, of_partition in enumerate(records):
        left = OwnerRecord(epoch=1, instance="bench", released=True).to_json()
        of_partition.append(OutRecord(topic, partition, OWNER_KEY, left, [], now_ms))
    await asyncio.gather(*(_write(bootstrap, prefix, number, each) for number, each in enumerate(records)))


async def _write(bootstrap: str, prefix: str, partition: int, records: Sequence[OutRecord]) -> None:
    writer = TransactionalWriter(bootstrap, f"{prefix}-runner-{partition}", commit_timeout=60.0)
    await writer.start()
    for begin in range(0, len(records), 1_000):
        read = {TopicPartition(SAGA_COMMANDS.name(prefix), partition): 0}
        await writer.commit(records[begin : begin + 1_000], read, f"{prefix}-runner")
    await writer.abandon()


def _sleeping(saga_id: str, wakes_at: datetime) -> SagaState:
    return SagaState(
        saga_id,
        sequence=2,
        status="EXECUTING",
        name="sleeper",
        version=1,
        definition_hash=Sleeper.definition.hash,
        source="bench",
        event_id=saga_id,
        correlation_id=saga_id,
        open={"nap": Open("nap", "action", "sleeping", at=wakes_at)},
    )


def _percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(len(seconds) * share)] * 1000


async def main(sagas: int, seconds: float) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    async with long_lived_broker() as kafka:
        for figure, value in (await measure(kafka.bootstrap, sagas, seconds)).items():
            print(f"  {figure:24} {value:,.2f}", flush=True)


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:3]] or [SAGAS, SECONDS]
    uvloop.run(main(int(given[0]), given[1]))
