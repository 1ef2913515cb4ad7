"""Topics of the tests' own. A broker that keeps those of every test is slow to answer the next."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient

from sagahook.runtime.topics import ensure_topics


@asynccontextmanager
async def open_prefix(bootstrap: str) -> AsyncIterator[str]:
    """A prefix that nobody else uses, for topics, groups and transactional ids. Its topics are deleted after the
    block."""
    prefix = f"t-{uuid.uuid4().hex[:12]}"
    yield prefix
    await delete_topics(bootstrap, prefix)


@asynccontextmanager
async def open_topics(bootstrap: str, partitions: int) -> AsyncIterator[str]:
    """The prefix of a deployment's topics, deleted after the block."""
    async with open_prefix(bootstrap) as prefix:
        await ensure_topics(bootstrap, prefix, partitions)
        yield prefix


async def delete_topics(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(
            [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]
        )
    finally:
        await admin.close()
