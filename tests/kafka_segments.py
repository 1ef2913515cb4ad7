"""Takes transaction markers out of a stopped broker's log, as though they had never been written."""

import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SIZE = struct.Struct(">8xi")
_ATTRIBUTES_AND_PRODUCER = struct.Struct(">21xh20xq")  # of a batch of Kafka's message format 2
_HEADER_BYTES = 61
_IS_CONTROL = 0x20


class _Batch(NamedTuple):
    position: int
    is_marker: bool
    producer_id: int


def cut_last_transaction_markers(logs: Path, partition: str) -> set[str]:
    """Of the writer whose transaction is the last one in `partition` (`topic-number`), wherever its marker is the
    last record of a partition. The partitions' names.

    What the broker keeps besides its segments goes too, so that it reads them anew as after a crash.
    """
    folders = [folder for folder in sorted(logs.iterdir()) if folder.is_dir()]
    ends = {folder: batch for folder in folders if (batch := _last_batch(folder))}
    producer = ends[logs / partition].producer_id
    cut = {
        folder: batch for folder, batch in ends.items() if batch.is_marker and batch.producer_id == producer
    }
    for folder, batch in cut.items():
        with _segment(folder).open("r+b") as segment:
            segment.truncate(batch.position)
        for snapshot in folder.glob("*.snapshot"):
            snapshot.unlink()
    for kept in [*logs.glob("*-checkpoint"), logs / ".kafka_cleanshutdown"]:
        kept.unlink()
    return {folder.name for folder in cut}


def _segment(folder: Path) -> Path:
    return max(folder.glob("*.log"))


def _last_batch(folder: Path) -> _Batch | None:
    if not any(folder.glob("*.log")):
        return None
    return next(iter(deque(_batches(_segment(folder).read_bytes()), maxlen=1)), None)


def _batches(segment: bytes) -> Iterator[_Batch]:
    position = 0
    while position + _HEADER_BYTES <= len(segment):
        attributes, producer_id = _ATTRIBUTES_AND_PRODUCER.unpack_from(segment, position)
        yield _Batch(position, bool(attributes & _IS_CONTROL), producer_id)
        position += _SIZE.size + _SIZE.unpack_from(segment, position)[0]
