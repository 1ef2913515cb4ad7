"""The command that `sagahook dev` prints for its first webhook."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagahook.cli.sources_here import Local
    from sagahook.embedded.app_facts import AppFacts
    from sagahook.runtime.sources import SchemeName


def example_body(app: AppFacts, folder: Path) -> str:
    """What the app ships for its first source, as `SOURCE.json` in that folder; else as much of a body as that source's
    trigger asks for: what a webhook is told apart by."""
    try:
        shipped = json.loads((folder / f"{app.source}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        shipped = None
    return json.dumps(shipped if shipped is not None else _with(app.keys))


def _with(paths: tuple[str, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for path in paths:
        *above, last = path.split(".")
        part = body
        for name in above:
            part = part.setdefault(name, {})
        part[last] = "A1"
    return body


def example_curl(api: str, name: str, body: str, environment: Mapping[str, str]) -> str:
    """A webhook as `curl` sends it, signed where the source is; as `sagahook send` does where what would be printed is
    the secret itself, or cannot be signed here."""
    from sagahook.cli.sagas_client import NotDone
    from sagahook.cli.sources_here import Local, reading

    headers = {"Content-Type": "application/json"}
    entry = reading(None, environment).entries.get(name)
    if entry is None or entry.source.scheme == "none":
        return _curl(api, name, headers, body)
    sending = f"  sagahook send {shlex.quote(name)} {shlex.quote(body)} --sign --url {api}"
    try:
        signed = _signed(Local(name, entry), body)
    except NotDone:
        signed = None
    if signed is None:
        return sending
    if not _is_dated(entry.source.scheme):
        return _curl(api, name, headers | signed, body)
    until = f"That signature is good for {entry.source.tolerance / 60:g} minutes; a fresh one:"
    return "\n\n".join((_curl(api, name, headers | signed, body), until, sending))


def check_sources(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with the sources that the services would read there."""
    from sagahook.runtime.source_configuration import SourceConfiguration

    configuration = SourceConfiguration.of(environment)
    if not configuration:
        return []
    from sagahook_ingest.domain.sources import known_source

    found = configuration.read()
    problems = [str(problem) for problem in found.problems]
    for name, entry in found.entries.items():
        try:
            known_source(name, entry.source)
        except ValueError as unusable:
            problems.append(f"{entry.origin}: {unusable}")
    return problems


def _signed(here: Local, body: str) -> dict[str, str] | None:
    """None where the header would hold the secret. Raises NotDone."""
    from sagahook.cli.sources_here import SHOWN_SECRETS
    from sagahook.runtime.ids import new_event_id

    return None if here.source.scheme in SHOWN_SECRETS else here.signed(body.encode(), new_event_id())


def _is_dated(scheme: SchemeName) -> bool:
    """Whether the signature holds the time, and is refused later."""
    from sagahook.runtime.sources import OPTIONS

    return "tolerance" in OPTIONS[scheme]


def _curl(api: str, name: str, headers: Mapping[str, str], body: str) -> str:
    parts = [f"curl {api}/webhooks/{name}"]
    parts += [f"-H {shlex.quote(f'{header}: {value}')}" for header, value in headers.items()]
    parts.append(f"-d {shlex.quote(body)}")
    separator = " " if len(headers) == 1 else " \\\n    "
    return "  " + separator.join(parts)
