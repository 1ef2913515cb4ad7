"""What a finished saga costs in memory: the index of docs/decisions/0008 and what it was chosen from.

    python -m bench.finished [ENTRIES]

Each candidate is filled in a process of its own: resident bytes an entry, microseconds for a put (the saga has just
finished), a get, and a restore from the record in `saga.state`, and how long one walk of the cycle collector
takes. Only the index also knows which ended first. RocksDB is measured where `rocksdict` is importable; it is no
dependency of this project.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from sagahook_runner.domain.finished import Finished, FinishedIndex, decode_finished, encode_finished

_T = TypeVar("_T")

ENTRIES = 1_000_000
PARTITIONS = 4
_CHUNK = 10_000
_WINDOW_MS = 7 * 86_400_000
_RECORD = struct.Struct(">16sBIIq8sI")


class Candidate(Protocol):
    def put(self, finished: Finished) -> None: ...
    def restore(self, saga_id: bytes, value: bytes) -> None: ...
    def get(self, saga_id: str) -> Any: ...


class Chosen:
    """Packed entries in buckets, one index a partition."""

    def __init__(self) -> None:
        self._indexes = [FinishedIndex() for _ in range(PARTITIONS)]

    def put(self, finished: Finished) -> None:
        self._indexes[ord(finished.saga_id[0]) % PARTITIONS].put(finished)

    def restore(self, saga_id: bytes, value: bytes) -> None:
        self._indexes[saga_id[0] % PARTITIONS].put_record(saga_id, value)

    def get(self, saga_id: str) -> Any:
        return self._indexes[ord(saga_id[0]) % PARTITIONS].get(saga_id)


class Tuples:
    """A dict of the named tuples themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, Finished] = {}

    def put(self, finished: Finished) -> None:
        self._entries[finished.saga_id] = finished

    def restore(self, saga_id: bytes, value: bytes) -> None:
        text = saga_id.decode()
        self._entries[text] = decode_finished(text, value)

    def get(self, saga_id: str) -> Any:
        return self._entries.get(saga_id)


class PackedDict:
    """A dict of the 16 bytes of the id and the record in `saga.state` as it is."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def put(self, finished: Finished) -> None:
        self._entries[_key(finished.saga_id)] = encode_finished(finished)

    def restore(self, saga_id: bytes, value: bytes) -> None:
        self._entries[_key(saga_id.decode())] = value

    def get(self, saga_id: str) -> Any:
        value = self._entries.get(_key(saga_id))
        return None if value is None else decode_finished(saga_id, value)


class Table:
    """Open addressing over one bytearray, doubled when two thirds are taken."""

    def __init__(self) -> None:
        self._slots = 1 << 10
        self._used = 0
        self._bytes = bytearray(self._slots * _RECORD.size)

    def put(self, finished: Finished) -> None:
        key = _key(finished.saga_id)
        self._place(key + encode_finished(finished)[1:26] + b"\0\0\0\0")

    def restore(self, saga_id: bytes, value: bytes) -> None:
        self._place(_key(saga_id.decode()) + value[1:26] + b"\0\0\0\0")

    def get(self, saga_id: str) -> Any:
        at = self._find(_key(saga_id))
        return _RECORD.unpack_from(self._bytes, at) if self._bytes[at + 16] else None

    def _place(self, record: bytes) -> None:
        at = self._find(record[:16])
        self._used += not self._bytes[at + 16]
        self._bytes[at : at + _RECORD.size] = record
        if self._used * 3 > self._slots * 2:
            old, self._slots = self._bytes, self._slots * 2
            self._bytes = bytearray(self._slots * _RECORD.size)
            for at in range(0, len(old), _RECORD.size):
                if old[at + 16]:
                    to = self._find(old[at : at + 16])
                    self._bytes[to : to + _RECORD.size] = old[at : at + _RECORD.size]

    def _find(self, key: bytes | bytearray) -> int:
        slot = int.from_bytes(key[8:], "big") & (self._slots - 1)
        while self._bytes[(at := slot * _RECORD.size) + 16] and not self._bytes.startswith(key, at):
            slot = (slot + 1) & (self._slots - 1)
        return at


class Sqlite:
    """A table in memory, one transaction for each thousand puts."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute("CREATE TABLE finished (id BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self._puts = 0

    def put(self, finished: Finished) -> None:
        self._write(_key(finished.saga_id), encode_finished(finished))

    def restore(self, saga_id: bytes, value: bytes) -> None:
        self._write(_key(saga_id.decode()), value)

    def get(self, saga_id: str) -> Any:
        row = self._database.execute("SELECT value FROM finished WHERE id = ?", (_key(saga_id),)).fetchone()
        return None if row is None else decode_finished(saga_id, row[0])

    def _write(self, key: bytes, value: bytes) -> None:
        if self._puts % 1000 == 0:
            if self._puts:
                self._database.execute("COMMIT")
            self._database.execute("BEGIN")
        self._puts += 1
        self._database.execute("INSERT OR REPLACE INTO finished VALUES (?, ?)", (key, value))


class Rocks:
    """RocksDB on this machine's disk with its defaults; raw bytes, write-ahead log off, as the log is Kafka's."""

    def __init__(self) -> None:
        rocksdict: Any = importlib.import_module("rocksdict")
        self._folder = tempfile.TemporaryDirectory()
        self._database = rocksdict.Rdict(self._folder.name, rocksdict.Options(raw_mode=True))
        options = rocksdict.WriteOptions()
        options.disable_wal = True
        self._database.set_write_options(options)

    def put(self, finished: Finished) -> None:
        self._database[_key(finished.saga_id)] = encode_finished(finished)

    def restore(self, saga_id: bytes, value: bytes) -> None:
        self._database[_key(saga_id.decode())] = value

    def get(self, saga_id: str) -> Any:
        value = self._database.get(_key(saga_id))
        return None if value is None else decode_finished(saga_id, value)


CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "index": Chosen,
    "dict of tuples": Tuples,
    "dict of bytes": PackedDict,
    "open addressing": Table,
    "sqlite in memory": Sqlite,
    "rocksdb": Rocks,
}


def measure(entries: int = ENTRIES) -> dict[str, dict[str, float]]:
    """By candidate: `bytes`, `put_us`, `get_us`, `restore_us`, `collect_ms`."""
    figures = {}
    for name in CANDIDATES:
        if name == "rocksdb" and importlib.util.find_spec("rocksdict") is None:
            continue
        run = [sys.executable, "-m", "bench.finished", name, str(entries)]
        figures[name] = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return figures


def measure_one(make: Callable[[], Candidate], entries: int) -> dict[str, float]:
    before = _resident()
    candidate = make()
    put = _time(candidate.put, _finished(entries))
    figures = {"bytes": (_resident() - before) / entries, "put_us": put / entries * 1e6}
    began = time.perf_counter()
    gc.collect()
    figures["collect_ms"] = (time.perf_counter() - began) * 1000
    asked = [[each.saga_id for each in chunk[::10]] for chunk in _finished(entries)]
    got = _time(candidate.get, iter(asked))
    figures["get_us"] = got / (entries / 10) * 1e6
    del asked
    fresh = make()
    records = (
        [(each.saga_id.encode(), encode_finished(each)) for each in chunk] for chunk in _finished(entries)
    )
    restored = _time(lambda record: fresh.restore(*record), records)
    figures["restore_us"] = restored / entries * 1e6
    return figures


def _finished(entries: int) -> Iterator[list[Finished]]:
    """Finished sagas in the order in which they ended, over seven days; the same ones each time."""
    dice = random.Random(7)
    for first in range(0, entries, _CHUNK):
        yield [
            Finished(
                saga_id=_text(dice.randbytes(16)),
                run=1,
                sequence=9,
                status="COMPLETED",
                ended_ms=1_700_000_000_000 + number * _WINDOW_MS // entries,
                event_id=_text(dice.randbytes(16)),
                name="order",
                version=1,
            )
            for number in range(first, min(first + _CHUNK, entries))
        ]


def _time(work: Callable[[_T], object], chunks: Iterator[list[_T]]) -> float:
    """Seconds of this process's CPU, without the making of the chunks."""
    taken = 0.0
    for chunk in chunks:
        began = time.process_time()
        for each in chunk:
            work(each)
        taken += time.process_time() - began
    return taken


def _text(key: bytes) -> str:
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _key(saga_id: str) -> bytes:
    return bytes.fromhex(saga_id.replace("-", ""))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main(arguments: list[str]) -> None:
    if arguments and arguments[0] in CANDIDATES:
        print(json.dumps(measure_one(CANDIDATES[arguments[0]], int(arguments[1]))))
        return
    figures = measure(int(arguments[0]) if arguments else ENTRIES)
    print(f"{'':18}{'bytes':>8}{'put us':>9}{'get us':>9}{'restore us':>12}{'collect ms':>12}")
    for name, each in figures.items():
        row = (each["bytes"], each["put_us"], each["get_us"], each["restore_us"], each["collect_ms"])
        print(f"{name:18}{row[0]:8.0f}{row[1]:9.1f}{row[2]:9.1f}{row[3]:12.1f}{row[4]:12.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
