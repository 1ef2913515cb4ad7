"""The broker that the benches measure on."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka


@asynccontextmanager
async def long_lived_broker() -> AsyncIterator[EmbeddedKafka]:
    """It has its second compiler, which `sagahook dev` leaves out to start sooner."""
    runtime = await prepare_kafka()
    flags = (*runtime.archive_flags(), "-XX:TieredStopAtLevel=4")
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder), runtime, heap_mb=512, flags=flags)
        try:
            await kafka.start()
            yield kafka
        finally:
            await kafka.stop()
