"""`sagahook sources`: who may send, how each proves it, and what its webhooks start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sagahook.cli.pausing import act
from sagahook.cli.sagas import Actor, AsJson, Key, Url, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient
from sagahook.cli.sources_here import (
    GivenHeaders,
    Name,
    SourcesFile,
    body_of,
    headers_of,
    local,
    reading,
)

if TYPE_CHECKING:
    from sagahook.cli.sources_captured import Captured

app = typer.Typer(help="The sources of webhooks: list, test, pause and resume them.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; it stands in the log.")]
BODY_LIMIT = 1024 * 1024
"""What SAGAHOOK_BODY_LIMIT is unless it says otherwise."""


@app.command("list")
def list_sources(
    module: Annotated[
        str | None, typer.Option("--app", metavar="MODULE", help="Also the sources of a module's triggers.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the API what is deployed.")] = False,
    sources_file: SourcesFile = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """What is configured here, and what is deployed: how each signs, its limits, and what its webhooks start."""
    from sagahook.cli import sources_view

    with one_line():
        found = reading(sources_file, secrets=False)
        of_app = _of_app(module) if module is not None else {}
        deployed = None if offline else _deployed(url, key, anything=bool(found.entries or of_app))
        if found.problems:
            raise NotDone("; ".join(map(str, found.problems)))
    listed = sources_view.joined(found.entries, deployed, of_app)
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    sources_view.show(listed, with_pauses=deployed is not None)
    for note in found.notes:
        typer.echo(f"sagahook: {note}", err=True)
    if not found.entries:
        typer.echo(
            "sagahook: no source is configured on this machine, so how they sign is not known here: set "
            "SAGAHOOK_SOURCES_FILE or give --sources-file",
            err=True,
        )


@app.command("test")
def check_source(
    source: Name,
    body: Annotated[
        str | None,
        typer.Argument(metavar="FILE|JSON|-", help="The captured body, as it came; - reads stdin."),
    ] = None,
    headers_file: Annotated[
        Path | None, typer.Option(help="The captured headers: NAME: VALUE on each line, or as JSON.")
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="In place of both: the whole request, headers, an empty line, and the body."),
    ] = None,
    header: GivenHeaders = None,
    at: Annotated[
        str | None,
        typer.Option(help="When it came, as 2026-01-05T10:00:00Z or in seconds since 1970. (default: now)"),
    ] = None,
    client: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="The address that it came from.")
    ] = None,
    sources_file: SourcesFile = None,
    as_json: AsJson = False,
) -> None:
    """Whether ingest would take a captured request, and if not, which check it fails; without a request, whether what
    the source signs verifies. Nothing is sent. Exit code 1 where a check fails."""
    from sagahook.cli import sources_view
    from sagahook.cli.sources_captured import Circumstances, checks, sample_check

    with one_line():
        here = local(source, sources_file)
        captured = _captured(body, headers_file, request, headers_of(header))
        came = Circumstances(_time(at), _address(client), _body_limit())
        done = [sample_check(here, came.now)] if captured is None else list(checks(here, captured, came))
    failed = [each for each in done if each.ok is False]
    if as_json:
        told = {
            "source": source,
            "ok": not failed,
            "configured": sources_view.facts(here.entry),
            "checks": [each._asdict() for each in done],
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        sources_view.tell(here, done, sample=captured is None)
    if failed:
        raise typer.Exit(1)


@app.command("pause")
def pause_source(
    source: Name, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Go on accepting its webhooks, and hold what they start."""
    act("sources", source, "pause", actor, reason, url, key)


@app.command("resume")
def resume_source(
    source: Name, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Let go what was held, in the order of its start."""
    act("sources", source, "resume", actor, reason, url, key)


def _deployed(url: str, key: str | None, *, anything: bool) -> list[Mapping[str, Any]] | None:
    """What the API tells; None where it does not answer but there is something else to show. Raises NotDone."""
    try:
        found: list[Mapping[str, Any]] = SagasClient(url, key).get("api", "v1", "sources")["sources"]
    except NotDone as away:
        if not anything:
            raise
        typer.echo(f"sagahook: what is deployed is not shown: {away}", err=True)
        return None
    return found


def _of_app(module: str) -> dict[str, list[str]]:
    """The sagas of a module that each source starts. Raises NotDone."""
    from sagahook.saga import AppError, DefinitionError, load_app

    try:
        definitions = load_app(module).definitions()
    except (AppError, DefinitionError) as wrong:
        raise NotDone(str(wrong)) from wrong
    found: dict[str, list[str]] = {}
    for definition in definitions:
        for trigger in definition.triggers:
            starts = found.setdefault(trigger.source, [])
            if definition.name not in starts:
                starts.append(definition.name)
    return found


def _captured(
    body: str | None, headers_file: Path | None, request: Path | None, given: Mapping[str, str]
) -> Captured | None:
    """The request; None where none was given. given: headers by --header. Raises NotDone."""
    from sagahook.cli.sources_captured import Captured, parse_headers, parse_request

    added = tuple((name.lower().encode(), value.encode()) for name, value in given.items())
    if request is not None:
        if body is not None or headers_file is not None:
            raise NotDone("--request is the whole request: leave out the body and --headers-file")
        captured = parse_request(_bytes_of(request))
        return Captured(captured.headers + added, captured.body)
    if body is None and (headers_file is not None or given):
        raise NotDone(
            "The headers are of no body: give the captured body as well, or - to read it from stdin"
        )
    if body is not None:
        content = body_of(body)
        headers = parse_headers(_bytes_of(headers_file)) if headers_file is not None else ()
        return Captured(headers + added, content)
    return None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as unreadable:
        raise NotDone(f"{path} cannot be read ({unreadable.strerror})") from None


def _time(given: str | None) -> datetime:
    if given is None:
        return datetime.now(UTC)
    try:
        if given.isdigit():
            return datetime.fromtimestamp(int(given), UTC)
        found = datetime.fromisoformat(given)
    except (ValueError, OverflowError, OSError):
        raise NotDone(
            f"--at {given[:60]!r} is no time: write 2026-01-05T10:00:00Z, or seconds since 1970"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _address(given: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return None if given is None else ip_address(given)
    except ValueError:
        raise NotDone(f"--from {given!r} is no IP address") from None


def _body_limit() -> int:
    """Ingest's, as far as it is known here."""
    given = os.environ.get("SAGAHOOK_BODY_LIMIT", "")
    return int(given) if given.isdigit() else BODY_LIMIT
