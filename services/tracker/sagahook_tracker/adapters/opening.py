"""Bodies of webhooks as they were received, where the log has them sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orjson import dumps

from sagahook_schemas.envelope import JSON, Header
from sagahook_schemas.erasable import ERASED, KEY_EXTENSION

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_KEY_HEADER = f"ce_{KEY_EXTENSION}"
_CONTENT_TYPE: Header = ("content-type", JSON.encode())


@dataclass(frozen=True, slots=True)
class Record:
    at: datetime
    headers: tuple[Header, ...]
    key: bytes | None
    value: bytes | None


async def opened(record: Record, keys: DataKeys) -> Record:
    """Of a body that was erased, JSON that says so. The rest is opened in the answers. Raises WrongKey."""
    key_id = next((value.decode() for name, value in record.headers if name == _KEY_HEADER), "")
    if not key_id or record.value is None:
        return record
    body = await keys.open_body(key_id, record.value)
    if body is not None:
        return Record(record.at, record.headers, record.key, body)
    others = (header for header in record.headers if header[0] != "content-type")
    return Record(record.at, (*others, _CONTENT_TYPE), record.key, dumps(ERASED))
