"""How fast one process reads back what `saga.state` holds, and what that costs in memory.

    python -m bench.restart [LIVE FINISHED]

On a broker of its own: topics with the live sagas alone, and topics with the finished ones between them, written in
transactions as a runner writes them. Each is then read back in a fresh process, all partitions at once as
after a start: until every live saga is a state again with its timer armed, and every finished one is remembered.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from bench.broker import long_lived_broker
from sagahook.runtime.collector import calm_the_collector
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import OWNER_KEY
from sagahook_runner.adapters.restore import restore
from sagahook_runner.domain.finished import Finished, encode_finished
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.domain.state import Open, SagaState
from sagahook_schemas.topics import SAGA_STATE

PARTITIONS = 4
LIVE, FINISHED = 100_000, 1_000_000
_IN_A_TRANSACTION = 200
_WINDOW_MS = 7 * 86_400_000
_NOW_MS = 1_764_000_000_000


async def measure(bootstrap: str, live: int = LIVE, finished: int = FINISHED) -> dict[str, Any]:
    """Seconds, resident megabytes and the longest slice of work in milliseconds; `finished_mb` is the difference."""
    figures: dict[str, Any] = {}
    for label, count in (("live", 0), ("both", finished)):
        prefix = f"restart-{label}-{os.urandom(4).hex()}"
        began = time.perf_counter()
        await ensure_topics(bootstrap, prefix, PARTITIONS)
        await fill(bootstrap, prefix, live, count)
        figures[f"{label}_filled_s"] = time.perf_counter() - began
        read = await _in_a_process(bootstrap, prefix)
        if (read["live"], read["finished"]) != (live, count):
            raise AssertionError(f"{live} live and {count} finished sagas were written, not {read}")
        for name in ("seconds", "cpu_seconds", "resident_mb", "longest_slice_ms"):
            figures[f"{label}_{name}"] = read[name]
    figures["finished_mb"] = figures["both_resident_mb"] - figures["live_resident_mb"]
    return figures


async def fill(bootstrap: str, prefix: str, live: int, finished: int) -> None:
    """Snapshots of so many sagas, evenly over the partitions, finished ones in the order in which they ended."""
    topic = SAGA_STATE.name(prefix)

    async def write(partition: int) -> None:
        writer = TransactionalWriter(bootstrap, f"{prefix}-runner-{partition}", commit_timeout=60.0)
        await writer.start()
        sagas = _sagas(partition, live // PARTITIONS, finished // PARTITIONS)
        while records := [
            OutRecord(topic, partition, key, value, [], _NOW_MS)
            for _, (key, value) in zip(range(_IN_A_TRANSACTION), sagas, strict=False)
        ]:
            await writer.commit(records, {}, "")
        left = OwnerRecord(epoch=1, instance="bench", released=True).to_json()
        await writer.commit([OutRecord(topic, partition, OWNER_KEY, left, [], _NOW_MS)], {}, "")
        await writer.abandon()

    await asyncio.gather(*(write(partition) for partition in range(PARTITIONS)))


def _sagas(partition: int, live: int, finished: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, a live saga after every so many finished ones."""
    dice = random.Random(partition)
    each = finished // live if live else 0
    for number in range(live):
        for ended in range(number * each, (number + 1) * each):
            saga_id = _uuid(dice)
            ended_ms = _NOW_MS - _WINDOW_MS + ended * _WINDOW_MS // finished
            entry = Finished(saga_id, 1, 9, "COMPLETED", ended_ms, _uuid(dice), "order", 1)
            yield saga_id.encode(), encode_finished(entry)
        saga_id = _uuid(dice)
        yield saga_id.encode(), _live(saga_id, dice).to_json()


def _live(saga_id: str, dice: random.Random) -> SagaState:
    """One that sleeps between two of its steps, of about 700 bytes."""
    wakes_at = datetime.fromtimestamp(_NOW_MS / 1000, UTC) + timedelta(seconds=dice.random() * 86_400)
    return SagaState(
        saga_id,
        sequence=6,
        status="EXECUTING",
        name="order",
        version=1,
        definition_hash=dice.randbytes(32).hex(),
        source="shop",
        event_id=_uuid(dice),
        correlation_id=_uuid(dice),
        context={"order_id": dice.randrange(10**9), "amount": 4200, "items": [{"sku": "A1", "n": 2}]},
        open={"cool_off": Open("cool_off", "action", "sleeping", at=wakes_at)},
        results={"reserve": {"reservation": _uuid(dice)}, "charge": {"charge": _uuid(dice), "at": "x" * 80}},
    )


def _uuid(dice: random.Random) -> str:
    digits = dice.randbytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


async def _in_a_process(bootstrap: str, prefix: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.restart", "--read", bootstrap, prefix, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return dict(json.loads(output))


async def read_back(bootstrap: str, prefix: str) -> dict[str, Any]:
    """What the fresh process does and prints."""
    # As every service does. With Python's own thresholds the collector walks the growing heap time and again: that
    # doubled the CPU, and one walk of 100,000 live sagas took half a second.
    calm_the_collector()
    watching = asyncio.create_task(_longest_slice())
    began, began_cpu = time.perf_counter(), time.process_time()
    shards = await asyncio.gather(*(_restore(bootstrap, prefix, number) for number in range(PARTITIONS)))
    seconds = time.perf_counter() - began
    watching.cancel()
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - began_cpu,
        "resident_mb": _resident_mb(),
        "longest_slice_ms": _slices[0] * 1000,
        "live": sum(1 for shard in shards for _ in shard.live()),
        "finished": sum(len(shard.finished) for shard in shards),
    }


async def _restore(bootstrap: str, prefix: str, partition: int) -> Shard:
    """As an owner does when it takes over: every state, every timer, every finished saga."""
    shard = Shard(Definitions([]))
    restored = await restore(ServiceSettings(kafka=bootstrap, topic_prefix=prefix), partition, shard)
    if restored.from_log or shard.timers.next_due() is None:
        raise AssertionError(f"partition {partition} was not restored from its snapshots: {restored}")
    return shard


_slices = [0.0]


async def _longest_slice() -> None:
    """How much work was done between two turns of a task that wants one every millisecond: a heartbeat would wait for
    it too. In CPU time, so that what else runs on the machine is left out."""
    while True:
        began = time.process_time()
        await asyncio.sleep(0.001)
        _slices[0] = max(_slices[0], time.process_time() - began)


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def main(live: int, finished: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    async with long_lived_broker() as kafka:
        for figure, value in (await measure(kafka.bootstrap, live, finished)).items():
            print(f"  {figure:24} {value:,.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print(json.dumps(uvloop.run(read_back(*sys.argv[2:4]))))
    else:
        uvloop.run(main(*(int(each) for each in sys.argv[1:3] or (LIVE, FINISHED))))
