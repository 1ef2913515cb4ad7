"""The files and references that a configuration of sources is made of. Nothing here quotes a secret."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Stamp = tuple[int, ...]
"""What tells a file from what it was before: it differs after a write, a rename over it, and the swap of a symbolic
link on the way to it, which is how Kubernetes replaces what is mounted from a ConfigMap or a Secret."""

Stamps = Mapping[Path, Stamp | None]
"""None where there is no such file."""

_DOCUMENT_LIMIT = 1024 * 1024
_SECRET_LIMIT = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Unusable(ValueError):
    """An operator must correct what it names."""


class Files:
    """Reads files, and remembers of each what it was like before it was read."""

    def __init__(self) -> None:
        self.stamps: dict[Path, Stamp | None] = {}

    def text(self, path: Path, limit: int) -> str:
        """limit: bytes. Raises Unusable, which goes on from the file's name."""
        self.stamps[path] = stamp(path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise Unusable("is no file")
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except (OSError, ValueError) as failed:
            if isinstance(failed, Unusable):
                raise
            why = os.strerror(failed.errno) if isinstance(failed, OSError) and failed.errno else str(failed)
            raise Unusable(f"cannot be read ({why})") from None
        if len(content) > limit:
            raise Unusable(f"is larger than {limit} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise Unusable("is no UTF-8 text") from None


def stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_document(path: Path, files: Files) -> Mapping[str, Any]:
    """The tables of a file: JSON where its name ends in .json, else TOML. Raises Unusable."""
    try:
        text = files.text(path, _DOCUMENT_LIMIT)
    except Unusable as unreadable:
        raise Unusable(f"it {unreadable}: put the sources there, or name another file") from None
    if not text.strip():
        # Somebody's half-done write, more likely than the wish to know no source any more.
        raise Unusable("it is empty: to configure no source, write a comment, or unset SAGAHOOK_SOURCES_FILE")
    if path.suffix.lower() == ".json":
        return parse_json(text)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise Unusable(f"it is not TOML: {wrong}") from None


def parse_json(text: str) -> Mapping[str, Any]:
    """Raises Unusable."""
    try:
        parsed = json.loads(text, object_pairs_hook=_without_repeats)
    except Unusable:
        raise
    except (ValueError, RecursionError) as wrong:
        raise Unusable(f"it is not JSON: {wrong}") from None
    if not isinstance(parsed, dict):
        raise Unusable('it must be an object, with the options of each source by its name: {"github": {…}}')
    return parsed


def resolve(reference: str, environment: Mapping[str, str], files: Files) -> str:
    """The secret that `env:NAME` or `file:/path` stands for, without the line break at its end. Raises Unusable."""
    kind, colon, rest = reference.partition(":")
    if not colon or kind not in ("env", "file"):
        raise Unusable(
            "a secret is written as a reference, env:NAME or file:/path: put it into that variable or file"
        )
    secret = _of_variable(rest, environment) if kind == "env" else _of_file(rest, files)
    secret = secret.rstrip("\r\n")
    if not secret:
        raise Unusable(f"{reference} is empty: put the secret there")
    if "\0" in secret or not _is_text(secret):
        raise Unusable(f"{reference} is no UTF-8 text: put the secret there as it is shown by the sender")
    return secret


def is_reference(written: str) -> bool:
    return written.startswith(("env:", "file:"))


def _of_variable(name: str, environment: Mapping[str, str]) -> str:
    if not _VARIABLE.match(name):
        raise Unusable("after env: comes the name of a variable, such as env:GITHUB_SECRET")
    if name not in environment:
        raise Unusable(f"env:{name} is not set: set the variable {name}, or name another")
    return environment[name]


def _of_file(name: str, files: Files) -> str:
    if not name.startswith("/"):
        raise Unusable("after file: comes an absolute path, such as file:/run/secrets/github")
    try:
        return files.text(Path(name), _SECRET_LIMIT)
    except Unusable as unreadable:
        raise Unusable(f"{name} {unreadable}: put the secret there, or name another file") from None


def _is_text(secret: str) -> bool:
    """Not so for a variable of the environment that holds other bytes."""
    try:
        secret.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unusable(f"{twice[:100]!r} is there twice: keep one of them")
    return found
