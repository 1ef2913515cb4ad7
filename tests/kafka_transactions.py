"""What tests of transactions write, and what a reader then sees."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.transactions import OutRecord, TransactionalWriter


def record(topic: str, value: str) -> OutRecord:
    return OutRecord(topic, 0, b"key", value.encode(), [], 0)


async def committed(bootstrap: str, topic: str) -> list[str]:
    """Every committed record of the topic's partition 0."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[str] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                values += [found.value.decode() for found in records]
        return values
    finally:
        await consumer.stop()


async def arrived(writer: TransactionalWriter, sent: OutRecord) -> None:
    """In a transaction that is not ended."""
    await asyncio.gather(*(arrival for _, arrival in await writer._send([sent])))
