"""`sagahook send SOURCE`: webhooks as a sender would send them, signed where asked for."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sagahook.cli.sagas import Url, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, address
from sagahook.cli.sources_here import (
    GivenHeaders,
    Local,
    Name,
    SourcesFile,
    body_of,
    header_of,
    headers_of,
    local,
    reading,
    sendable,
)

if TYPE_CHECKING:
    from sagahook.cli.send_client import Answer
    from sagahook.runtime.sources import Source


def send(
    source: Name,
    body: Annotated[
        str | None, typer.Argument(metavar="FILE|JSON|-", help="The body; - reads stdin. (default: {})")
    ] = None,
    sign: Annotated[bool, typer.Option("--sign", help="As the source's configuration here says.")] = False,
    times: Annotated[int, typer.Option(min=1, help="How often, each with a delivery id of its own.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="How many at once.")] = 8,
    event: Annotated[str | None, typer.Option(help="The event's type.", metavar="TYPE")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same for all --times.")] = None,
    header: GivenHeaders = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each answer.")] = False,
    sources_file: SourcesFile = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Send webhooks: a line for each answer, and exit code 1 where one was refused."""
    with one_line():
        content = body_of(body)
        sender = local(source, sources_file) if sign else None
        if sender is not None and sender.source.scheme == "none":
            raise NotDone(
                f"The source {source!r} has the scheme none, and nothing to sign with: leave out --sign"
            )
        known = sender.source if sender else _configured(source, sources_file)
        telling = _telling(known, event, idempotency_key)
        headers = _headers(content, sender, telling, headers_of(header))
        answers = asyncio.run(
            _send(address(url, None)[0], source, content, headers, times, concurrency, as_json)
        )
    refused = [answer for answer in answers if not answer.accepted]
    if any(answer.status == 401 for answer in refused) and not sign:
        typer.echo("sagahook: this source signs: say --sign where its secrets are configured", err=True)
    if refused:
        raise typer.Exit(1)


def _headers(
    body: bytes, sender: Local | None, telling: dict[str, str], given: dict[str, str]
) -> Callable[[], dict[str, str]]:
    """Makes the headers of one request. given: they replace ours, in any case of theirs."""
    from sagahook.runtime.ids import new_event_id

    replaced = {each.lower() for each in given}

    def headers() -> dict[str, str]:
        signature = sender.signed(body, new_event_id()) if sender else {}
        ours = {"Content-Type": "application/json", **telling, **signature}
        return {name: value for name, value in ours.items() if name.lower() not in replaced} | given

    return headers


async def _send(
    url: str,
    name: str,
    body: bytes,
    headers: Callable[[], dict[str, str]],
    times: int,
    concurrency: int,
    as_json: bool,
) -> list[Answer]:
    """Tells each answer as it comes, and in the end what they were. Raises NotDone."""
    from sagahook.cli.send_client import post_all

    started = time.perf_counter()
    answers: list[Answer] = []
    async for answer in post_all(url, name, body, headers, times, min(times, concurrency)):
        answers.append(answer)
        typer.echo(json.dumps(answer.as_dict()) if as_json else _line(answer))
    if times > 1:
        typer.echo(_summary(answers, time.perf_counter() - started), err=True)
    return answers


def _configured(name: str, sources_file: SourcesFile) -> Source | None:
    """What is known here of the source without its secrets; None where nothing is."""
    entry = reading(sources_file, secrets=False).entries.get(name)
    return entry.source if entry else None


def _telling(source: Source | None, event: str | None, key: str | None) -> dict[str, str]:
    """The headers by which the source is told the event's type and the idempotency key. Raises NotDone."""
    from sagahook_ingest.domain.signatures import DEFAULT_FIELDS

    usual = DEFAULT_FIELDS[source.scheme if source else "none"]
    found: dict[str, str] = {}
    for option, value, configured, default, otherwise in (
        ("--event", event, source.event_type if source else None, usual.event_type, "X-Event-Type"),
        (
            "--idempotency-key",
            key,
            source.idempotency_key if source else None,
            usual.idempotency_key,
            "Idempotency-Key",
        ),
    ):
        where = configured or default
        if value is None:
            continue
        if where is not None and header_of(where) is None:
            field = where.removeprefix("body:")
            raise NotDone(f"{option}: this source reads it in the body's field {field!r}: write it there")
        found[header_of(where) or otherwise] = sendable(option, value)
    return found


def _line(answer: Answer) -> str:
    from sagahook.cli.sagas_view import plain

    if answer.status is None:
        return plain(f"no answer  {answer.error}")
    if not answer.accepted:
        again = f" (again in {answer.retry_after} s)" if answer.retry_after else ""
        return plain(f"{answer.status} refused  {answer.error}{again}")
    ids = [f"correlation {answer.correlation_id}", f"event {answer.event_id}"]
    told = [said for said in ids if not said.endswith(" None")]
    return plain("  ".join([f"{answer.status} accepted", *told]))


def _summary(answers: list[Answer], seconds: float) -> str:
    accepted = sum(answer.accepted for answer in answers)
    others = Counter(str(answer.status or "no answer") for answer in answers if not answer.accepted)
    why = ", ".join(f"{count} x {status}" for status, count in sorted(others.items()))
    refused = f", {len(answers) - accepted} not ({why})" if why else ""
    return f"sagahook: {len(answers)} sent in {seconds:.1f} s: {accepted} accepted{refused}"
