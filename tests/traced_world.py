"""The services as processes of their own, tracing to a collector: webhooks in at one end, a receiver at the other."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from orjson import dumps, loads
from standardwebhooks import Webhook

from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_notifier.adapters.schema import MIGRATIONS, SCHEMA
from tests.ingest_process import IngestProcess, ingest_process
from tests.notifier_harness import SECRET, Receiver, notifier_environment, open_receiver
from tests.otlp_receiver import Collector, open_collector
from tests.preforked import Preforked, start_service
from tests.runner_harness import PARTITIONS, RunnerHarness

SOURCE_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
SOURCES = {"traced": {"scheme": "standard", "secrets": ["env:TRACED_SECRET"]}, "plain": {}}


@dataclass
class World:
    """receiver: it takes the outbound webhooks at /hook, and what the steps ask for."""

    prefix: str
    folder: Path
    collector: Collector
    receiver: Receiver
    ingest: IngestProcess
    runners: RunnerHarness
    notifier: Preforked
    session: aiohttp.ClientSession
    signatures: list[str] = field(default_factory=list)

    async def post(self, source: str, event: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        """Signed where the source signs."""
        body = dumps(event)
        if source == "traced":
            at, webhook_id = datetime.now(UTC), f"msg-{event['id']}"
            signature = Webhook(SOURCE_SECRET).sign(webhook_id, at, body.decode())
            self.signatures.append(signature)
            headers |= {
                "webhook-id": webhook_id,
                "webhook-timestamp": str(int(at.timestamp())),
                "webhook-signature": signature,
            }
        headers["Content-Type"] = "application/json"
        url = f"{self.ingest.base_url}/webhooks/{source}"
        async with self.session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    def lines(self, service: str) -> list[dict[str, Any]]:
        """What the logs of a service's processes say."""
        files = sorted(self.folder.glob(f"{service}*.log"))
        return [loads(line) for file in files for line in file.read_text().splitlines()]


@asynccontextmanager
async def traced_world(kafka: str, prefix: str, database_url: str, folder: Path) -> AsyncIterator[World]:
    async with open_collector() as collector, open_receiver() as receiver, aiohttp.ClientSession() as session:
        await ensure_topics(kafka, prefix, PARTITIONS)
        await migrate(database_url, SCHEMA, MIGRATIONS)
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",  # milliseconds
            "SAGAHOOK_SOURCES": json.dumps(SOURCES),
            "TRACED_SECRET": SOURCE_SECRET,
        }
        runners = RunnerHarness(
            kafka, prefix, folder, "tests.apps.traced", {"HOST_URL": receiver.url, **tracing}
        )
        endpoint = {
            "id": "hook",
            "url": f"{receiver.url}/hook?token=the-endpoints-own-secret",
            "secret": SECRET,
            "event_types": ["task_failed"],
            "retry_policy": [0.05],
        }
        environment = {
            **os.environ,
            **notifier_environment([endpoint], kafka=kafka, topic_prefix=prefix, database_url=database_url),
            **tracing,
        }
        notifier = await start_service(
            "sagahook_notifier", "run", env=environment, log=folder / "notifier.log"
        )
        try:
            async with ingest_process(kafka, prefix, folder / "ingest.log", **tracing) as ingest:
                yield World(prefix, folder, collector, receiver, ingest, runners, notifier, session)
        finally:
            await runners.stop()
            notifier.kill()
            await notifier.wait()
