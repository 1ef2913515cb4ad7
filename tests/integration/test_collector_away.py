"""A collector that is away: nobody who sends a webhook notices, and a stop does not wait for it."""

import json
from pathlib import Path

import aiohttp

from sagahook.embedded.ports import hold_port
from sagahook.runtime.topics import ensure_topics
from tests.ingest_process import ingest_process
from tests.runner_harness import PARTITIONS


async def test_webhooks_are_accepted_and_ingest_stops_in_order(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    nobody = hold_port()  # it is ours, and nothing listens there
    try:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody.number}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",  # milliseconds
            "SAGAHOOK_SOURCES": json.dumps({"orders": {"rate_limit": "none"}}),
        }
        log = tmp_path / "ingest.log"
        async with ingest_process(kafka_bootstrap, topic_prefix, log, **environment) as ingest:
            url = f"{ingest.base_url}/webhooks/orders"
            async with aiohttp.ClientSession() as session:
                for number in range(20):
                    async with session.post(url, json={"id": number}) as answer:
                        assert answer.status == 202
            assert ingest.process is not None
            ingest.process.terminate()
            assert await ingest.wait() == 0
    finally:
        nobody.release()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "telemetry.on" in [line["event"] for line in lines]
    assert lines[-1]["event"] == "service.stopped" or lines[-1]["logger"].startswith("opentelemetry")
