"""Finished sagas, remembered for deduplication: what is kept of each, and how it lies in `saga.state`.

A partition may remember hundreds of thousands of them for seven days. So each one is 45 packed bytes and not an
object of Python's (docs/decisions/0008), which also leaves the cycle collector nothing to walk.

The value of a finished saga's record in `saga.state`, big-endian; the key is the saga id as text, as for a live
one. A live saga's value is JSON and begins with `{`; this one begins with its version, 1:

    offset  size  what
         0     1  version of this layout: 1
         1     1  status: C completed, R rolled back, F failed (ASCII)
         2     4  run
         6     4  sequence of the saga's last event
        10     8  when it ended, milliseconds since 1970, signed
        18     8  the first 8 bytes of the SHA-256 of the event id that started it, as UTF-8
        26     4  version of the definition
        30     …  name of the definition, UTF-8, to the end
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from sagahook_runner.domain.end_order import EndOrder
from sagahook_runner.domain.state import Status

_VERSION = 1
_LETTERS: dict[Status, int] = {"COMPLETED": ord("C"), "ROLLED_BACK": ord("R"), "FAILED": ord("F")}
_STATUSES: dict[int, Status] = {letter: status for status, letter in _LETTERS.items()}

_HEAD = Struct(">BBIIq8sI")
_ENDED = Struct(">q")
_ENDED_AT = 10
_SHARED = slice(1, 26)
"""The part of a record that lies in memory as it is: from the status to the event's digest."""

_TAIL = slice(26, None)
"""Its version and name."""

_ENTRY = Struct(">16sBIIq8sI")
"""In memory: the id, the part above, and the number of (name, version)."""
_ENTRY_ENDED_AT = 16 + _ENDED_AT - 1

_BUCKETS = 1 << 14


class NotFinished(ValueError):
    """The bytes are no finished saga's record: read them as a live one's, or restore from the log."""


class Finished(NamedTuple):
    """How one run of a saga ended.

    saga_id: a UUID as `identity` makes them, lower case with dashes. sequence: of its last event. status: a final
    one. ended_ms: epoch milliseconds. event_id: of the webhook that started it, any text; what was remembered
    has only its digest of 8 bytes left, to be asked by `matches`. name, version: of the definition.
    """

    saga_id: str
    run: int
    sequence: int
    status: Status
    ended_ms: int
    event_id: str | bytes
    name: str
    version: int

    @property
    def digest(self) -> bytes:
        return digest_of(self.event_id) if isinstance(self.event_id, str) else self.event_id

    def matches(self, event_id: str) -> bool:
        """Whether this webhook started it."""
        return self.digest == digest_of(event_id)


def digest_of(event_id: str) -> bytes:
    return sha256(event_id.encode()).digest()[:8]


def encode_finished(finished: Finished) -> bytes:
    """The value in `saga.state`, 30 bytes and the name."""
    return _head(finished) + finished.name.encode()


def decode_finished(saga_id: str, value: bytes) -> Finished:
    """Raises NotFinished."""
    check_finished(value)
    _, letter, run, sequence, ended_ms, digest, version = _HEAD.unpack_from(value)
    return Finished(
        saga_id, run, sequence, _STATUSES[letter], ended_ms, digest, value[_HEAD.size :].decode(), version
    )


def is_finished(value: bytes) -> bool:
    """Whether a value in `saga.state` is a finished saga's and not a live one's JSON."""
    return value[:1] == b"\x01"


def check_finished(value: bytes) -> None:
    """Raises NotFinished."""
    if len(value) < _HEAD.size or value[0] != _VERSION or value[1] not in _STATUSES:
        raise NotFinished(f"no finished saga of layout {_VERSION}: {value[: _HEAD.size].hex()}")


class FinishedIndex:
    """Finished sagas by id, and in the order in which they ended.

    16,384 buckets of packed entries, chosen by the id's last bits and searched through: for a million entries
    that is about a microsecond, and nothing is ever rehashed at once. To put an entry takes time, a few hundred
    nanoseconds, for every 1,000 entries a bucket; memory is about 70 bytes an entry. Also 16 bytes for each
    time that a saga finished again within the window, until that end's time is past it.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._order = EndOrder()
        self._length = 0
        # Names and versions are few, as deployed: each pair is kept once, under a number.
        self._kinds: list[tuple[str, int]] = []
        self._numbers: dict[tuple[str, int], int] = {}
        self._numbers_by_tail: dict[bytes, int] = {}  # a record's last part, as it is

    def put(self, finished: Finished) -> None:
        """Remember it, in place of an older entry of its id. Raises ValueError where the id is no UUID."""
        saga_id, run, sequence, status, ended_ms, event_id, name, version = finished
        key = _key(saga_id.encode())
        number = self._numbers.get((name, version))
        if number is None:
            number = self._number(name, version)
        digest = digest_of(event_id) if isinstance(event_id, str) else event_id
        entry = _ENTRY.pack(key, _LETTERS[status], run, sequence, ended_ms, digest, number)
        self._store(key, entry, ended_ms)

    def put_record(self, saga_id: bytes, value: bytes) -> None:
        """As `put`, of a key and a value of `saga.state` as they are. Raises ValueError where the key is no UUID,
        NotFinished where the value is another one's."""
        key = _key(saga_id)
        check_finished(value)
        number = self._numbers_by_tail.get(value[_TAIL])
        if number is None:
            finished = decode_finished("", value)
            number = self._numbers_by_tail[value[_TAIL]] = self._number(finished.name, finished.version)
        entry = key + value[_SHARED] + number.to_bytes(4, "big")
        self._store(key, entry, _ENDED.unpack_from(value, _ENDED_AT)[0])

    def get(self, saga_id: str) -> Finished | None:
        try:
            return self._get(_key(saga_id.encode()))
        except ValueError:
            return None

    def pop(self, saga_id: str) -> Finished | None:
        """Forget it, since it runs again or its record is deleted."""
        try:
            return self._pop(_key(saga_id.encode()))
        except ValueError:
            return None

    def expired(self, before_ms: int, limit: int) -> list[Finished]:
        """Forget the oldest ones that ended before that time, at most `limit`, and return them, oldest first."""
        gone: list[Finished] = []
        while len(gone) < limit:
            key = self._order.pop(before_ms, self._ended_of)
            if key is None:
                break
            finished = self._pop(key)
            if finished is not None:
                gone.append(finished)
        return gone

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Finished]:
        """In no order. The index must not change meanwhile."""
        for bucket in self._buckets:
            for position in range(0, len(bucket or b""), _ENTRY.size):
                yield self._read(bucket or bytearray(), position)

    def _store(self, key: bytes, entry: bytes, ended_ms: int) -> None:
        at = (key[15] << 6) | (key[14] & 63)
        bucket = self._buckets[at]
        if bucket is None:
            self._buckets[at] = bytearray(entry)
            self._length += 1
        elif key not in bucket or (position := _find(bucket, key)) < 0:
            bucket += entry
            self._length += 1
        else:
            bucket[position : position + _ENTRY.size] = entry
        self._order.add(key, ended_ms)

    def _get(self, key: bytes) -> Finished | None:
        bucket = self._bucket_of(key)
        position = _find(bucket, key)
        return None if position < 0 else self._read(bucket, position)

    def _pop(self, key: bytes) -> Finished | None:
        bucket = self._bucket_of(key)
        position = _find(bucket, key)
        if position < 0:
            return None
        finished = self._read(bucket, position)
        del bucket[position : position + _ENTRY.size]
        self._length -= 1
        return finished

    def _bucket_of(self, key: bytes) -> bytearray:
        return self._buckets[(key[15] << 6) | (key[14] & 63)] or bytearray()

    def _ended_of(self, key: bytes) -> int | None:
        bucket = self._bucket_of(key)
        position = _find(bucket, key)
        if position < 0:
            return None
        ended_ms: int = _ENDED.unpack_from(bucket, position + _ENTRY_ENDED_AT)[0]
        return ended_ms

    def _read(self, bucket: bytearray, position: int) -> Finished:
        key, letter, run, sequence, ended_ms, digest, number = _ENTRY.unpack_from(bucket, position)
        name, version = self._kinds[number]
        return Finished(_text(key), run, sequence, _STATUSES[letter], ended_ms, digest, name, version)

    def _number(self, name: str, version: int) -> int:
        number = self._numbers.setdefault((name, version), len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append((name, version))
        return number


def _head(finished: Finished) -> bytes:
    return _HEAD.pack(
        _VERSION,
        _LETTERS[finished.status],
        finished.run,
        finished.sequence,
        finished.ended_ms,
        finished.digest,
        finished.version,
    )


def _find(bucket: bytearray, key: bytes) -> int:
    """Where its entry begins, -1 where there is none. The bytes of an id may also lie across two fields."""
    position = bucket.find(key)
    while position > 0 and position % _ENTRY.size:
        position = bucket.find(key, position + 1)
    return position


def _key(saga_id: bytes) -> bytes:
    """The 16 bytes of a UUID's text. Raises ValueError where it is none."""
    key = unhexlify(saga_id.replace(b"-", b""))
    if len(key) != 16:
        raise ValueError(f"{saga_id[:100]!r} is no saga id")
    return key


def _text(key: bytes) -> str:
    digits = key.hex()  # as str(UUID(bytes=key)), which takes four times as long
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
