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


def shipped_body(folder: Path, source: str | None) -> str | None:
    """What an app ships as `SOURCE.json` in that folder, on one line; None where there is none, or it is no JSON."""
    try:
        return json.dumps(json.loads((folder / f"{source}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def example_body(app: AppFacts) -> str:
    """As much of a body as the trigger of the app's first source asks for: what webhooks are told apart by."""
    body: dict[str, Any] = {}
    for path in app.keys:
        *above, last = path.split(".")
        part = body
        for name in above:
            part = part.setdefault(name, {})
        part[last] = "A1"
    return json.dumps(body)


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
