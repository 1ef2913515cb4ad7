"""`sagahook history`: a saga's log from Kafka, as `sagahook replay-test` reads it."""

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaProducer
from orjson import dumps
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook.runtime.topics import ensure_topics
from sagahook.testing import Happened, SagaTest, read_histories
from sagahook_orders.app import Order
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_EVENTS

PARTITIONS = 4


async def publish(kafka: str, prefix: str, events: list[Happened]) -> None:
    """As the owners of the partitions do."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for event in events:
            which = f"{event.saga_id}/{event.run}/{event.sequence}"
            envelope = Envelope(
                id=which,
                source="/tests",
                type=event.type,
                time=event.time,
                saga_id=event.saga_id,
                run=event.run,
                sequence=event.sequence,
            )
            await producer.send_and_wait(
                SAGA_EVENTS.name(prefix),
                key=event.saga_id.encode(),
                value=dumps(event.data),
                headers=envelope.to_headers(),
                partition=partition_of(event.saga_id, PARTITIONS),
            )
    finally:
        await producer.stop()


async def command(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_a_saga_s_runs_are_written_as_files_that_replay(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    world = SagaTest(Order)
    for step in Order.definition.by_name:
        world.replace(step, lambda ctx: {"status": "done"})
    runs = [(await world.receive("order_created", {"order_id": str(number)})).run for number in range(8)]
    await publish(kafka_bootstrap, topic_prefix, [event for run in runs for event in run.events])

    wanted = runs[3]
    told = await command("history", wanted.saga_id, "--kafka", kafka_bootstrap, "--prefix", topic_prefix)
    assert told.exit_code == 0, told.output
    file = tmp_path / "histories" / "order.jsonl"
    file.parent.mkdir()
    file.write_text(told.stdout)
    (history,) = read_histories(file)
    assert history.events == wanted.events
    assert (await command("replay-test", "sagahook_orders.app", str(file.parent))).exit_code == 0


async def test_a_saga_that_is_not_in_the_log_is_told_of(kafka_bootstrap: str, topic_prefix: str) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    told = await command("history", "no-such-saga", "--kafka", kafka_bootstrap, "--prefix", topic_prefix)
    assert told.exit_code == 1
    assert f"the log of {topic_prefix} holds no saga no-such-saga" in told.stderr


async def test_kafka_that_is_away_is_told_of() -> None:
    told = await command("history", "no-such-saga", "--kafka", "127.0.0.1:1")
    assert told.exit_code == 1
    assert "Kafka at 127.0.0.1:1 does not answer" in told.stderr
