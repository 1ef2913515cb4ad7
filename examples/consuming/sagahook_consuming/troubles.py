"""What needs a person, as CloudEvents, one a line: aiokafka and the CloudEvents SDK.

    KAFKA=localhost:9092 python -m sagahook_consuming.troubles | while read -r event; do …; done

Environment: KAFKA, PREFIX (`sagahook`), GROUP (`troubles`). Ctrl-C or SIGTERM ends it.

A line is written before its offset is committed, so that none is lost; after a crash a few come again, under the ids
that they had.
"""

import asyncio
import os
import signal
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat

TROUBLES = frozenset({"sagahook.saga.failed.v1", "sagahook.saga.suspended.v1"})


async def main() -> None:
    consumer = AIOKafkaConsumer(
        f"{os.environ.get('PREFIX', 'sagahook')}.saga.events",
        bootstrap_servers=os.environ.get("KAFKA", "localhost:9092"),
        group_id=os.environ.get("GROUP", "troubles"),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with consumer:
        while not stopping.is_set():
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    tell(event_of(record))
            await consumer.commit()


def event_of(record: ConsumerRecord[bytes, bytes]) -> BaseCloudEvent:
    """The headers are its attributes; the key comes as the extension `partitionkey`."""
    return from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))


def tell(event: BaseCloudEvent) -> None:
    if event.get_type() in TROUBLES:
        sys.stdout.buffer.write(JSONFormat().write(event) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
