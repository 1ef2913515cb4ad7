"""`sagahook dlq`: what consumers did not take, straight from Kafka, and the way back for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sagahook.cli.sagas import Actor, AsJson, Yes, by_whom
from sagahook_schemas.topics import DEFAULT_PREFIX

if TYPE_CHECKING:
    from sagahook_tracker.adapters.dead_letters import DeadLetterTopics
    from sagahook_tracker.adapters.redriving import By, Redriving
    from sagahook_tracker.domain.dead_letters import DeadLetter, Wanted

app = typer.Typer(help="Dead letters: records that consumers did not take.", no_args_is_help=True)

Kafka = Annotated[str, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")]
Prefix = Annotated[str, typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's.")]
TopicName = Annotated[str, typer.Argument(metavar="TOPIC", help="A dead-letter topic, without the prefix.")]
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id", help="PARTITION/OFFSET among the dead letters, or the record's ce_id; several may be given."
    ),
]
Matching = Annotated[str | None, typer.Option(help="Those whose reason has this text.")]

_FIRST = 10
"""Of what would be sent again, so many are shown."""

_PATIENCE = 120.0
"""Seconds to read a whole topic."""


@app.command("list")
def list_topics(kafka: Kafka, prefix: Prefix = DEFAULT_PREFIX, as_json: AsJson = False) -> None:
    """The dead-letter topics, the fullest first: how many wait, since when, how many were sent again."""
    with _one_message():
        topics = asyncio.run(_letters(kafka, prefix).topics())
    if as_json:
        typer.echo(json.dumps([asdict(topic) for topic in topics], indent=2, default=str))
        return
    for topic in topics:
        oldest = f"  the oldest of {topic.oldest_at:%Y-%m-%d %H:%M:%S} UTC" if topic.oldest_at else ""
        again = f"  ({topic.redriven} sent again)" if topic.redriven else ""
        typer.echo(f"{topic.count:>8}{' ' if topic.exact else '≤'} {topic.topic}{oldest}{again}")


@app.command()
def show(
    topic: TopicName,
    kafka: Kafka,
    ids: Ids = None,
    matching: Matching = None,
    redriven: Annotated[bool, typer.Option("--redriven", help="Also those that were sent again.")] = False,
    payload: Annotated[bool, typer.Option("--payload", help="Show what they hold, without secrets.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: AsJson = False,
) -> None:
    """What it holds: why each was not taken, when, by whom, where it stood, its headers; and what to do about it."""
    from sagahook_tracker.domain.dead_letters import Wanted, remedy

    wanted = Wanted(ids or (), matching)
    with _one_message():
        whole = asyncio.run(_letters(kafka, prefix).whole(topic))
    if whole is None:
        _no_such(topic)
    found = [
        letter for letter, _ in whole if wanted.wants(letter) and (redriven or letter.redriven_at is None)
    ]
    for letter in sorted(found, key=lambda each: (each.at, each.partition, each.offset))[:limit]:
        told = _told(letter, payload)
        typer.echo(json.dumps(told) if as_json else _lines(told))
    if as_json:
        return
    if len(found) > limit:
        typer.echo(f"… and {len(found) - limit} more (--limit)")
    typer.echo(remedy(topic) if found else "nothing of that kind")


@app.command()
def redrive(
    topic: TopicName,
    kafka: Kafka,
    ids: Ids = None,
    matching: Matching = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that was not sent again yet.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Records a second; 0: as fast as it goes.")] = 50,
    yes: Yes = False,
    actor: Actor = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")] = "",
    prefix: Prefix = DEFAULT_PREFIX,
) -> None:
    """Send records to where they came from once more, as they were: each once, however often this is said."""
    from sagahook.cli.sagas_client import NotDone
    from sagahook.runtime.clock import SystemClock
    from sagahook_tracker.adapters.redriving import By, Redriving
    from sagahook_tracker.domain.dead_letters import Wanted

    if not (ids or matching or every):
        _refuse("say which: --id, --matching, or --all")
    _refuse_facts(topic)
    try:
        by = By(**by_whom(actor, reason))
    except NotDone as nobody:
        _refuse(str(nobody))
    with _one_message():
        redriving = Redriving(_letters(kafka, prefix), SystemClock())
        chosen = asyncio.run(redriving.chosen(topic, Wanted(ids or (), matching)))
        if chosen is None:
            _no_such(topic)
        _preview(chosen)
        if dry_run or not chosen:
            return
        if not yes:
            typer.confirm(f"Send {len(chosen)} to {topic.removesuffix('.dlq')} again?", abort=True)
        # What was shown is what is sent.
        sent = asyncio.run(_redrive(redriving, topic, Wanted({each.place for each in chosen}), by, rate))
    typer.echo(f"{sent} sent to {topic.removesuffix('.dlq')} again, and marked")


async def _redrive(redriving: Redriving, topic: str, wanted: Wanted, by: By, rate: float) -> int:
    sent = 0
    async for count in redriving.redrive(topic, wanted, by, rate):
        sent += count
    return sent


def _refuse_facts(topic: str) -> None:
    """Exits where the topic's records tell what happened: nobody writes these but their owner."""
    from sagahook_tracker.domain.dead_letters import asks_for_something, remedy

    of = topic.removesuffix(".dlq")
    if topic == of:
        _refuse(f"{topic!r} is no dead-letter topic: their names end in .dlq; sagahook dlq list tells them")
    if not asks_for_something(of):
        _refuse(f"{of} tells what happened, and is written by its owner alone: {remedy(topic)}")


def _preview(chosen: Sequence[DeadLetter]) -> None:
    for letter in chosen[:_FIRST]:
        typer.echo(_lines(_told(letter, payload=False)))
    more = f" ({_FIRST} shown)" if len(chosen) > _FIRST else ""
    typer.echo(f"{len(chosen)} to send again{more}" if chosen else "nothing of that kind waits")


def _told(letter: DeadLetter, payload: bool) -> dict[str, Any]:
    """Without secrets; what it holds only where somebody asks for it."""
    from sagahook_tracker.domain.redaction import redacted_fields, redacted_payload, redacted_text

    told: dict[str, Any] = {
        "place": letter.place,
        "at": f"{letter.at:%Y-%m-%dT%H:%M:%SZ}",
        "type": letter.headers.get("ce_type"),
        "id": letter.event_id or None,
        "key": letter.key,
        "reason": redacted_text(letter.reason),
        "consumer": letter.consumer or None,
        "source": letter.source or None,
        "redriven_at": f"{letter.redriven_at:%Y-%m-%dT%H:%M:%SZ}" if letter.redriven_at else None,
        "headers": redacted_fields(dict(letter.headers)),
        "size": len(letter.value),
    }
    if payload:
        _, told["payload"] = redacted_payload(letter.value)
    return told


def _lines(told: dict[str, Any]) -> str:
    """For a terminal, which nothing of it may drive."""
    from sagahook.cli.sagas_view import plain

    again = f"  sent again {told['redriven_at']}" if told["redriven_at"] else ""
    whence = f"by {told['consumer'] or '?'}, from {told['source'] or '?'}, {told['size']} bytes"
    lines = [
        f"{told['place']:>10}  {told['at']}  {told['type'] or '?'}  {told['key'] or '-'}{again}",
        f"{'':>12}{told['reason'] or 'no reason given'}",
        f"{'':>12}{whence}",
        f"{'':>12}{' '.join(f'{name}={value}' for name, value in told['headers'].items())}",
    ]
    if "payload" in told:
        payload = told["payload"]
        lines.append(f"{'':>12}{payload if isinstance(payload, str) else json.dumps(payload)}")
    return "\n".join(map(plain, lines))


@contextmanager
def _one_message() -> Iterator[None]:
    from sagahook.runtime.batches import Unavailable
    from sagahook.runtime.topics import TopicsMismatch
    from sagahook_tracker.adapters.redriving import Overtaken

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say is a line of ours
    try:
        yield
    except (Unavailable, Overtaken, TopicsMismatch) as reason:
        _refuse(str(reason))


def _letters(kafka: str, prefix: str) -> DeadLetterTopics:
    from sagahook.runtime.settings import brokers_of_environment
    from sagahook_tracker.adapters.dead_letters import DeadLetterTopics

    return DeadLetterTopics(brokers_of_environment(kafka), prefix, timeout=_PATIENCE)


def _no_such(topic: str) -> NoReturn:
    _refuse(f"there is no dead-letter topic {topic!r}: sagahook dlq list tells them")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
