"""What a client uploads: the parts of its form, and the file, written to the disk as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import BodyPartReader, web

from sagahook_document_ingestion.app import LARGEST, READERS

_LONGEST_TEXT = 1_000
"""Characters of a part that is no file."""
_CHUNK = 65_536


class Refused(Exception):
    """status: of the answer; the text is for whoever sent the request."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Upload:
    source_type: str
    filename: str
    webhook_url: str


async def read_upload(request: web.Request, file: Path) -> Upload:
    """Writes the uploaded file to `file`. Raises Refused, and may then leave a part of it there."""
    if not request.content_type.startswith("multipart/"):
        raise Refused(415, "send multipart/form-data with the parts source_type, file and webhook_url")
    texts: dict[str, str] = {}
    filename: str | None = None
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise Refused(400, "a part must not have parts of its own")
            if part.name == "file":
                filename = part.filename or "unnamed"
                await _write(part, file)
            elif part.name in ("source_type", "webhook_url"):
                texts[part.name] = (await part.read_chunk(4 * _LONGEST_TEXT)).decode()
    except ValueError as broken:
        raise Refused(400, f"this is not multipart/form-data: {broken}") from broken
    return _checked(texts, filename)


def _checked(texts: dict[str, str], filename: str | None) -> Upload:
    missing = [name for name in ("source_type", "webhook_url") if name not in texts]
    missing += ["file"] if filename is None else []
    if missing or filename is None:
        raise Refused(400, f"these parts are missing: {', '.join(missing)}")
    if texts["source_type"] not in READERS:
        raise Refused(400, f"source_type is one of {', '.join(READERS)}, not {texts['source_type']!r}")
    url = texts["webhook_url"]
    if (
        len(url) > _LONGEST_TEXT
        or urlsplit(url).scheme not in ("http", "https")
        or not urlsplit(url).hostname
    ):
        raise Refused(400, f"webhook_url must be http(s)://host/… of at most {_LONGEST_TEXT} characters")
    return Upload(texts["source_type"], filename, url)


async def _write(part: BodyPartReader, file: Path) -> None:
    size = 0
    with file.open("wb") as written:  # a chunk of 64 KiB into the page cache
        while chunk := await part.read_chunk(_CHUNK):
            size += len(chunk)
            if size > LARGEST:
                raise Refused(413, f"a file has at most {LARGEST:,} bytes")
            written.write(chunk)
