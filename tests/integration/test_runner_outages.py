"""saga-runner while its broker goes away and comes back: no restart, nothing lost, nothing run twice."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import broken_runs


async def test_a_runner_outlives_its_broker(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    await kafka.start()
    runners = RunnerHarness(kafka.bootstrap, "outage", tmp_path, settings={"STEP_SECONDS": "0.4"})
    try:
        await ensure_topics(kafka.bootstrap, "outage", PARTITIONS)
        runner = await runners.start_runner()
        await runners.publish({"id": number} for number in range(20))
        await runners.wait_for_effects(10)
        # Killed, not stopped: Kafka 4.3 to 4.4 loses answered commits while it stops in order (docs/decisions/0004).
        assert kafka.pid
        os.kill(kafka.pid, signal.SIGKILL)
        await kafka.wait()
        await asyncio.sleep(4)  # the attempts end while nobody can be told, and the session passes
        await kafka.start()
        events = await runners.read_until_final(20)
        assert runner.returncode is None, runners.logs()[-3000:]
        assert Counter(event.kind for event in events)["saga.completed"] == 20
        assert broken_runs(events) == {}, "each run's sequence is 1, 2, 3, … without a gap or a repetition"
        began = Counter(line.rsplit(" ", 2)[0] for line in runners.effects() if line.endswith("began"))
        repeated = [key for key, times in began.items() if times > 1]
        assert repeated == [], "an attempt whose outcome the process still holds is not made again"
    finally:
        await runners.stop()
        await kafka.stop()
