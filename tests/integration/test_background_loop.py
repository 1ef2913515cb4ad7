"""The loop beside a server that waits: one for each process, also for those that are forked while it works."""

import asyncio
import os
import sys

from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Log
from tests.web_harness import told


async def test_a_process_that_forks_and_its_child_each_send_by_a_loop_of_their_own(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    environment = told(kafka_bootstrap, topic_prefix, SAGAHOOK_SOURCES='{"parcels": {}}')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.apps.forking"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, errors.decode()
    sent = dict(line.rsplit(" ", 1) for line in out.decode().splitlines())
    assert sent.keys() == {"of the parent, before", "of the child", "of the parent, after"}
    held = {(record.key or b"").decode() for record in await Log(kafka_bootstrap, topic_prefix).read()}
    assert held == set(sent.values())
