"""The sources as they are configured on this machine, and what is sent in their name."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sagahook.cli.sagas_client import NotDone

if TYPE_CHECKING:
    from sagahook.runtime.source_configuration import Entry, Reading
    from sagahook.runtime.sources import Source

Name = Annotated[str, typer.Argument(metavar="SOURCE", help="As in /webhooks/SOURCE.")]
SourcesFile = Annotated[
    Path | None,
    typer.Option(
        help="Where the sources are configured, beside SAGAHOOK_SOURCES. (default: SAGAHOOK_SOURCES_FILE)"
    ),
]
GivenHeaders = Annotated[
    list[str] | None, typer.Option("--header", "-H", metavar="NAME:VALUE", help="Several may be given.")
]

SHOWN_SECRETS = frozenset({"bearer", "basic", "api_key"})
"""The schemes whose header holds the secret itself: it is put on no terminal."""


@dataclass(frozen=True)
class Local:
    """A source as it is configured here, with its secrets."""

    name: str
    entry: Entry

    @property
    def source(self) -> Source:
        return self.entry.source

    def signed(self, body: bytes, delivery_id: str) -> dict[str, str]:
        """The headers of such a sender. Raises NotDone."""
        from datetime import UTC, datetime

        from sagahook_ingest.domain.sources import scheme_for

        try:
            headers = scheme_for(self.name, self.source).sign(body, datetime.now(UTC), delivery_id)
        except ValueError as unusable:
            raise NotDone(str(unusable)) from None
        named = header_of(self.source.delivery_id)
        return headers if named is None else headers | {named: delivery_id}


def local(name: str, sources_file: Path | None, environment: Mapping[str, str] | None = None) -> Local:
    """Raises NotDone where the source is not configured here, or anything is wrong with it."""
    found = reading(sources_file, environment)
    if name not in found.entries:
        concerning = [str(each) for each in found.problems if each.source in (name, None)]
        if concerning:
            raise NotDone("; ".join(concerning))
        known = ", ".join(found.entries) or "none"
        raise NotDone(
            f"The source {name!r} is not configured here (there are: {known}): name it in SAGAHOOK_SOURCES or in the "
            "file of --sources-file"
        )
    return Local(name, found.entries[name])


def reading(
    sources_file: Path | None, environment: Mapping[str, str] | None = None, *, secrets: bool = True
) -> Reading:
    """All that is configured here. secrets: whether they are read, or only what refers to them."""
    from sagahook.runtime.source_configuration import FILE, SourceConfiguration

    told = dict(os.environ if environment is None else environment)
    if sources_file is not None:
        told[FILE] = str(sources_file)
    return SourceConfiguration.of(told, frozenset({"secrets"}) if secrets else frozenset()).read()


def header_of(where: str | None) -> str | None:
    """`X-Name` for `header:X-Name`."""
    return where.removeprefix("header:") if where is not None and where.startswith("header:") else None


def body_of(given: str | None) -> bytes:
    """The bytes of FILE, JSON or - (stdin), as they are; `{}` where nothing was given. Raises NotDone."""
    import json

    if given is None:
        return b"{}"
    if given == "-":
        return sys.stdin.buffer.read()
    try:
        json.loads(given)
    except ValueError:
        return _of_file(given)
    return given.encode()


def headers_of(given: list[str] | None) -> dict[str, str]:
    """Raises NotDone."""
    found: dict[str, str] = {}
    for each in given or []:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise NotDone(f"--header {name!r} is not NAME:VALUE")
        found[name.strip()] = sendable(f"--header {name.strip()}", value.strip())
    return found


def sendable(option: str, value: str) -> str:
    """The value, which a header can hold. Raises NotDone."""
    if not value.isascii() or not value.isprintable():
        raise NotDone(f"{option}: a header holds printable ASCII characters alone")
    return value


def _of_file(given: str) -> bytes:
    try:
        return Path(given).read_bytes()
    except FileNotFoundError:
        said = given if len(given) <= 60 else f"{given[:60]}…"
        raise NotDone(
            f"{said!r} is neither JSON nor a file: write '{{\"a\": 1}}', a path, or - for stdin"
        ) from None
    except (OSError, ValueError) as unreadable:
        why = getattr(unreadable, "strerror", None) or str(unreadable)
        raise NotDone(f"The body cannot be read from {given[:60]!r} ({why})") from None
