"""Every replica of every service is replaced under load, and nobody outside notices (bench/rollout.py has the rate)."""

import asyncio
from pathlib import Path

import pytest

from tests.rolling import KINDS, rolled_out


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
async def test_replicas_are_replaced_one_by_one_and_nothing_is_refused_lost_or_repeated(
    kafka_bootstrap: str, topic_prefix: str, empty_database_url: str, tmp_path: Path, replicas: int
) -> None:
    where = (tmp_path, kafka_bootstrap, topic_prefix, empty_database_url)
    async with rolled_out(*where, replicas=replicas) as rollout:
        load, stopping = rollout.load(rate=20), asyncio.Event()
        sending = asyncio.create_task(load.run(stopping))
        for kind in KINDS:
            for _ in range(replicas):
                await rollout.replace(kind)
        stopping.set()
        await sending
        assert len(load.accepted) > 50
        assert await rollout.violations(load) == {}
