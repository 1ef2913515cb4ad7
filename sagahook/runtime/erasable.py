"""Whether anything can be erased here. What sealing needs is slow to import, and so is imported only then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.topics import await_partition_count

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys


def data_keys(settings: ServiceSettings, partitions: int) -> DataKeys | None:
    """None where SAGAHOOK_ERASURE_KEY is not set: nothing is sealed then, and nothing can be erased."""
    encryption = settings.key_encryption
    if encryption is None:
        return None
    from sagahook.runtime.erasure import DataKeys

    return DataKeys(encryption, settings.kafka, settings.topic_prefix, partitions)


class KeysInTime:
    """For a service that starts also while Kafka is away. `keys` None: nothing is sealed, or it is not known yet."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self.keys: DataKeys | None = None

    async def run(self) -> None:
        """Follow the keys until cancelled."""
        if not self._settings.erasure_key:
            return
        partitions = await await_partition_count(
            self._settings.kafka, self._settings.topic_prefix, asyncio.Event()
        )
        self.keys = data_keys(self._settings, partitions or 0)
        if self.keys is not None:
            await self.keys.run(stirring=True)
