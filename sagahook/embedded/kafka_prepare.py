"""The first start: fetches Kafka, and makes the two files that let every later start take a second."""

import asyncio
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from sagahook.embedded.downloads import KAFKA_VERSION, kafka_jars
from sagahook.embedded.errors import StackError
from sagahook.embedded.java import find_java
from sagahook.embedded.kafka import EmbeddedKafka, new_id, write_properties
from sagahook.embedded.kafka_runtime import KafkaRuntime
from sagahook.embedded.paths import cache_dir, held
from sagahook.embedded.process import Child, last_lines

_ARCHIVE_SECONDS = 60
_EXERCISE_SECONDS = 60


async def prepare_kafka(cache: Path | None = None) -> KafkaRuntime:
    """Everything that it makes is kept in the cache, so only the first call takes time.

    Raises StackError when there is no Java, or a download or Kafka itself fails.
    """
    cache = cache or cache_dir()
    java = find_java()
    jars = await kafka_jars(cache)
    runtime = KafkaRuntime(java, jars, cache / f"kafka-{KAFKA_VERSION}" / f"java-{java.key()}")
    if not runtime.home.exists():
        async with held(cache / "prepare.lock"):
            if not runtime.home.exists():
                await _make_home(runtime)
    return runtime


async def _make_home(runtime: KafkaRuntime) -> None:
    sys.stderr.write("Preparing Kafka for quick starts (once) ...\n")
    with tempfile.TemporaryDirectory(dir=runtime.home.parent, prefix="preparing-") as name:
        scratch = Path(name)
        trial = replace(runtime, home=scratch / "home")
        trial.home.mkdir()
        await _make_checkpoint(trial, scratch)
        await _make_archive(trial, scratch)
        trial.home.rename(runtime.home)


async def _make_checkpoint(runtime: KafkaRuntime, scratch: Path) -> None:
    """Formats one cluster with Kafka's own command; new data directories get a copy of what it wrote."""
    properties, logs, log = scratch / "format.properties", scratch / "formatted", scratch / "format.log"
    write_properties(properties, logs, {"CLIENTS": ("PLAINTEXT", 1)}, controller_port=2)  # no port is used
    arguments = ("format", "--cluster-id", new_id(), "--config", str(properties))
    child = await Child.spawn(runtime.command("kafka.tools.StorageTool", *arguments, heap_mb=128, log=log))
    if await child.wait() != 0:
        raise StackError(f"Kafka could not format a directory. Its output:\n{last_lines(log)}")
    shutil.copyfile(logs / runtime.checkpoint.name, runtime.checkpoint)


async def _make_archive(runtime: KafkaRuntime, scratch: Path) -> None:
    """Runs a broker once, so that the JVM learns which classes it loads; it writes them down as it ends."""
    broker = EmbeddedKafka(scratch, runtime, flags=runtime.java.record_archive(runtime.archive))
    await broker.start()
    try:
        await _exercise(broker.bootstrap)
    except BaseException:
        await broker.stop(grace=0)
        raise
    await broker.stop(grace=_ARCHIVE_SECONDS)


async def _exercise(bootstrap: str) -> None:
    """A little of what sagahook asks of a broker: topics, transactions, consumer groups."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    from sagahook.saga.brokers import client_options

    admin = AIOKafkaAdminClient(**client_options(bootstrap))
    producer = AIOKafkaProducer(**client_options(bootstrap), transactional_id="exercise")
    consumer = AIOKafkaConsumer(
        "exercise",
        **client_options(bootstrap),
        group_id="exercise",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with asyncio.timeout(_EXERCISE_SECONDS):
        await admin.start()
        await admin.create_topics([NewTopic("exercise", 4, 1)])
        await admin.close()
        async with producer:
            for number in range(100):
                async with producer.transaction():
                    sent = await producer.send_and_wait("exercise", b"value", key=str(number).encode())
                    offsets = {TopicPartition(sent.topic, sent.partition): sent.offset}
                    await producer.send_offsets_to_transaction(offsets, "exercise-offsets")
        async with consumer:
            read = 0
            while read < 100:
                read += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
            await consumer.commit()
