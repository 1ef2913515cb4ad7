"""The data keys of what can be erased, as every service knows them: a view of the topic `erasure.keys`.

A key is in the log before anything that is sealed under it. So whoever meets a key that it does not know reads on to
its end: a key that is not there either was erased.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiokafka.record.default_records import DefaultRecord
from orjson import dumps, loads

from sagahook.runtime.durable import DurableWriter
from sagahook.runtime.erasure_crypto import DataKey, KeyEncryption, WrongKey, hashed
from sagahook.runtime.logging import get_logger
from sagahook.runtime.tail import Tail
from sagahook.runtime.transactions import OutRecord
from sagahook_schemas.erasable import (
    ERASED,
    FIELDS,
    GONE,
    KEY_EXTENSION,
    SNAPSHOT,
    TOKEN,
    Shape,
    opened,
    sealed,
)
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import ERASURE_KEYS

log = get_logger(__name__)

KEY_HEADER = f"ce_{KEY_EXTENSION}"

_ARRIVAL_SECONDS = 0.1
"""A key that is on its way comes at once, as a rule; only then is the topic's end asked for."""
_STIRRING_SECONDS = 1_800.0
_STIRRED = b"stirred"
_MOST_GONE = 100_000


class DataKeys:
    """What one process knows. `version`: another one whenever a key was erased."""

    def __init__(self, encryption: KeyEncryption, bootstrap: str, topic_prefix: str, partitions: int) -> None:
        self._encryption = encryption
        self._topic = ERASURE_KEYS.name(topic_prefix)
        self._partitions = partitions
        self._writer = DurableWriter(bootstrap, topic_prefix)
        self._tail = Tail(bootstrap, self._topic, partitions, self._apply)
        self._keys: dict[str, DataKey] = {}
        self._of: dict[tuple[str, str], dict[str, None]] = {}
        """The ids of a subject's keys: two replicas of ingest may each have made one in the same moment."""
        self._gone: dict[str, None] = {}
        self._outdated: set[str] = set()
        self._locked: set[str] = set()
        self._making: dict[tuple[str, str], asyncio.Task[DataKey]] = {}
        self._arrived = asyncio.Event()
        self._watchers: set[Callable[[], None]] = set()
        self.version = 0
        self.caught_up = self._tail.caught_up

    async def run(self, *, stirring: bool = False) -> None:
        """Follow the topic until cancelled. stirring: now and then write a record that means nothing, because Kafka
        cleans nothing of a log's last segment, and begins a new one only when something is written."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tail.run(), name="erasure-keys")
                if stirring:
                    tasks.create_task(self._stir(), name="erasure-stirring")
        finally:
            await self._writer.close()

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.add(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        self._watchers.discard(changed)

    # -- making and erasing ---------------------------------------------------------------------------------

    async def key_for(self, source: str, subject: str) -> DataKey:
        """The subject's key, made and durable where there was none; of "" the source's own. Raises Unavailable."""
        whose = source, hashed(source, subject)
        known = self._of.get(whose)
        if known:
            return self._keys[next(iter(known))]
        making = self._making.get(whose)
        if making is None:
            making = self._making[whose] = asyncio.create_task(self._make(*whose))
            making.add_done_callback(lambda _: self._making.pop(whose, None))
        return await asyncio.shield(making)

    async def erase(self, source: str, subject: str | None) -> int:
        """Of a subject, or of the source and all its subjects (None): how many keys were erased, durably. Raises
        Unavailable."""
        await self._tail.pass_end()
        if subject is None:
            found = [key_id for key_id, key in self._keys.items() if key.source == source]
        else:
            found = list(self._of.get((source, hashed(source, subject)), ()))
        await self._write([self._record(key_id, None) for key_id in found])
        await self._tail.pass_end()  # so that this replica no longer tells it when it says so
        return len(found)

    async def rewrap(self) -> int:
        """Seal every data key under the first of the deployment's keys, so that the others can be forgotten; how many
        were not yet. Raises Unavailable, WrongKey."""
        await self._tail.pass_end()
        self._check_locked(self._locked)
        found = [key_id for key_id in self._outdated if key_id in self._keys]
        wrapped = [self._record(key_id, self._encryption.wrap(self._keys[key_id])) for key_id in found]
        await self._write(wrapped)
        return len(found)

    async def _make(self, source: str, subject: str) -> DataKey:
        key = DataKey.draw(source, subject)
        await self._write([self._record(key.id, self._encryption.wrap(key))])
        self._keep(key)
        return key

    async def _write(self, records: list[OutRecord]) -> None:
        """Raises Unavailable."""
        await self._writer.send(lambda _: records)

    def _record(self, key_id: str, value: bytes | None) -> OutRecord:
        where = partition_of(key_id, self._partitions)
        return OutRecord(self._topic, where, key_id.encode(), value, [], time.time_ns() // 1_000_000)

    async def _stir(self) -> None:
        while True:
            await asyncio.sleep(_STIRRING_SECONDS)
            now = time.time_ns() // 1_000_000
            with contextlib.suppress(Exception):  # the next time will do
                await self._write(
                    [OutRecord(self._topic, each, _STIRRED, b"", [], now) for each in range(self._partitions)]
                )

    # -- knowing --------------------------------------------------------------------------------------------

    async def settle(self, key_ids: Collection[str]) -> None:
        """Returns when of each of them it is certain whether it is known or gone. Raises WrongKey."""
        unknown = {each for each in key_ids if each not in self._keys and each not in self._gone}
        if unknown:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ARRIVAL_SECONDS):
                    while unknown - self._keys.keys():
                        self._arrived.clear()
                        await self._arrived.wait()
            if unknown - self._keys.keys():
                await self._tail.pass_end()
        for key_id in unknown - self._keys.keys() - self._locked:
            self._forget(key_id)
        self._check_locked(key_ids)

    def get(self, key_id: str) -> DataKey | None:
        """None: it is gone, or not known yet (`settle`)."""
        return self._keys.get(key_id)

    def is_gone(self, key_id: str) -> bool:
        return key_id not in self._keys

    def _check_locked(self, key_ids: Collection[str]) -> None:
        locked = self._locked.intersection(key_ids)
        if locked:
            raise WrongKey(
                f"the data key {min(locked)} is sealed under a key that SAGAHOOK_ERASURE_KEY does not name: name it "
                "beside the new one"
            )

    def _apply(self, partition: int, record: DefaultRecord) -> None:
        key_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            erased = self._keys.get(key_id)
            self._forget(key_id)
            if erased is not None:
                self.version += 1
                log.info("erasure.erased", source=erased.source, key=key_id)
                for changed in self._watchers:
                    changed()
        elif record.value:
            try:
                self._keep(self._encryption.unwrap(key_id, record.value))
                (self._outdated.discard if self._encryption.is_current(record.value) else self._outdated.add)(
                    key_id
                )
            except WrongKey as wrong:
                self._locked.add(key_id)
                log.critical("erasure.locked", key=key_id, reason=str(wrong))
        self._arrived.set()

    def _keep(self, key: DataKey) -> None:
        self._keys[key.id] = key
        self._of.setdefault((key.source, key.subject), {})[key.id] = None
        self._locked.discard(key.id)

    def _forget(self, key_id: str) -> None:
        key = self._keys.pop(key_id, None)
        self._locked.discard(key_id)
        self._gone[key_id] = None
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        if key is not None:
            ids = self._of[key.source, key.subject]
            ids.pop(key_id, None)
            if not ids:
                del self._of[key.source, key.subject]

    # -- sealing and opening --------------------------------------------------------------------------------

    def seal_record(self, record: OutRecord, key_id: str) -> OutRecord:
        """Its payload sealed; of what is gone, a marker. It names the key. For types of `erasable.FIELDS`."""
        ce_type = next((value.decode() for name, value in record.headers if name == "ce_type"), "")
        headers = [*record.headers, (KEY_HEADER, key_id.encode())]
        value = record.value and self._sealed(record.value, FIELDS.get(ce_type, {}), key_id)
        return record._replace(value=value, headers=headers)

    def seal_snapshot(self, record: OutRecord, key_id: str) -> OutRecord:
        return record._replace(value=record.value and self._sealed(record.value, SNAPSHOT, key_id))

    async def open_body(self, key_id: str, body: bytes) -> bytes | None:
        """None where the key is gone. Raises ValueError where the body was changed; WrongKey."""
        await self.settle((key_id,))
        key = self._keys.get(key_id)
        return None if key is None else key.open(body)

    async def open_record(self, key_id: str, value: bytes) -> bytes:
        """With everything opened that is sealed under this key. Whatever else looks like something sealed is a sender's
        text. Raises WrongKey."""
        await self.settle((key_id,))

        def open_own(token: str) -> Any:
            found = TOKEN.fullmatch(token)
            return self.open_token(token) if found and found[1] == key_id else GONE

        return dumps(opened(loads(value), open_own))

    def _sealed(self, value: bytes, fields: Mapping[str, Shape], key_id: str) -> bytes:
        key = self._keys.get(key_id)
        return (
            dumps(sealed(loads(value), fields, None if key is None else key.seal_value)) if fields else value
        )

    def open_token(self, token: str) -> Any:
        """GONE where the key is, or where it was changed. The key must be settled."""
        found = TOKEN.fullmatch(token)
        key = self._keys.get(found[1]) if found else None
        if key is None:
            return GONE
        try:
            return key.open_value(token)
        except ValueError:
            return GONE


ERASED_BODY = dumps(ERASED)
