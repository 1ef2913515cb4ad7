"""What people write on the command line of endpoints, as the API takes it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sagahook.cli.sagas_client import NotDone

_AGO = re.compile(r"([0-9]{1,6})(m|h|d)\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def body_of(**given: Any) -> dict[str, Any]:
    """What is not None, by the names of the API. Raises NotDone."""
    body = {name: value for name, value in given.items() if value is not None and value != []}
    if "retry_policy" in body:
        body["retry_policy"] = _policy(body["retry_policy"])
    if "headers" in body:
        body["headers"] = dict(_header(each) for each in body["headers"])
    if "secret" in body:
        body["secret"] = referred("--secret", body["secret"])
    return body


def cleared(names: list[str]) -> dict[str, Any]:
    """Raises NotDone."""
    empty: dict[str, Any] = {"sources": None, "sagas": None, "filter": None, "headers": {}}
    if unknown := sorted(set(names) - empty.keys()):
        raise NotDone(f"--clear {unknown[0]} is not understood: give {', '.join(empty)}")
    return {name: empty[name] for name in names}


def referred(option: str, reference: str) -> str:
    """What `env:NAME` or `file:/path` stands for. Raises NotDone."""
    from sagahook.runtime.source_files import Files, Unusable, resolve

    try:
        return resolve(reference, os.environ, Files())
    except Unusable as unusable:
        raise NotDone(f"{option}: {unusable}") from None


def moment(text: str, now: datetime) -> datetime:
    """A time with its zone (without one it is UTC), or `90m`, `6h`, `2d` ago. Raises NotDone."""
    ago = _AGO.match(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise NotDone(f"{text!r} is no time: write 2026-03-01T12:00:00Z, or how long ago, as 6h") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _policy(text: str) -> str | list[float]:
    if text.isalpha():
        return text
    try:
        return [float(each) for each in text.split(",") if each.strip()]
    except ValueError:
        raise NotDone(
            f"--retry-policy {text!r} is not understood: give standard, task, exponential, or seconds such as 1,10,60"
        ) from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise NotDone(f"--header {text!r} is not of the form NAME:VALUE")
    value = value.strip()
    is_reference = value.startswith(("env:", "file:"))
    return name.strip(), referred(f"--header {name.strip()}", value) if is_reference else value
