"""`sagahook dead-letters`: what consumers did not take, straight from Kafka, and the way back for it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sagahook_schemas.topics import DEFAULT_PREFIX, SAGA_COMMANDS, SAGA_REPLIES, WEBHOOKS_COMMANDS

if TYPE_CHECKING:
    from sagahook_tracker.adapters.dead_letters import DeadLetter, DeadLetterTopics, DeadTopic

ASKING = (SAGA_COMMANDS.base, SAGA_REPLIES.base, WEBHOOKS_COMMANDS.base)
"""What only asks for something, and may be asked again: who is asked knows whether it was done."""

_EXCERPT = 400


def dead_letters(
    kafka: Annotated[str, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")],
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="A dead-letter topic, without the prefix.")
    ] = None,
    put_back: Annotated[
        str | None,
        typer.Option(metavar="PARTITION/OFFSET", help="Send this one to where it came from, as it was."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Of each partition.")] = 50,
    prefix: Annotated[
        str, typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's.")
    ] = DEFAULT_PREFIX,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The dead-letter topics; with TOPIC what it holds, why, and what to do about it."""
    from sagahook.runtime.batches import Unavailable
    from sagahook_tracker.adapters.dead_letters import DeadLetterTopics

    reading = DeadLetterTopics(kafka, prefix)
    try:
        if topic is None:
            _list(asyncio.run(reading.topics()), as_json)
        elif put_back is not None:
            _put_back(reading, topic, put_back)
        else:
            _read(asyncio.run(reading.letters(topic, {}, limit)), topic, as_json)
    except Unavailable as away:
        _refuse(str(away))


def remedy(topic: str) -> str:
    """topic: the dead-letter topic."""
    of = topic.removesuffix(".dlq")
    if of in ASKING or of.startswith("saga.steps."):
        return f"when its reason is mended: sagahook dead-letters {topic} --put-back PARTITION/OFFSET"
    if of == "webhooks.received":
        return "when its reason is mended: POST /api/v1/webhooks/events/EVENT_ID/reprocess"
    return (
        "it stands in the log as it was: run a version that can read it, then sagahook tracker rebuild (its consumer "
        "says whose views lack it)"
    )


def _list(topics: list[DeadTopic], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(topic) for topic in topics], indent=2, default=str))
        return
    for topic in topics:
        oldest = f"  the oldest of {topic.oldest_at:%Y-%m-%d %H:%M:%S} UTC" if topic.oldest_at else ""
        typer.echo(f"{topic.count:>8}{' ' if topic.exact else '≤'} {topic.topic}{oldest}")


def _read(letters: list[DeadLetter] | None, topic: str, as_json: bool) -> None:
    from sagahook.cli.sagas_view import plain
    from sagahook_tracker.domain.redaction import redacted_text

    if letters is None:
        _refuse(f"There is no dead-letter topic {topic!r}: sagahook dead-letters lists them")
    for letter in letters or ():
        value = redacted_text(letter.value.decode(errors="replace"))
        reason = redacted_text(letter.reason)
        place, at = f"{letter.partition}/{letter.offset}", f"{letter.at:%Y-%m-%d %H:%M:%S} UTC"
        if as_json:
            told = {
                "place": place,
                "at": at,
                "key": letter.key,
                "reason": reason,
                "consumer": letter.consumer,
            }
            told |= {"source": letter.source, "type": letter.headers.get("ce_type"), "value": value}
            typer.echo(json.dumps(told))
        else:
            typer.echo(f"{place:>10}  {at}  {plain(letter.headers.get('ce_type', '?'))}  {plain(letter.key)}")
            typer.echo(f"{'':>12}{plain(reason)}   (by {letter.consumer}, from {letter.source})")
            typer.echo(f"{'':>12}{plain(value[:_EXCERPT])}")
    if letters and not as_json:
        typer.echo(remedy(topic))


def _put_back(reading: DeadLetterTopics, topic: str, place: str) -> None:
    of = topic.removesuffix(".dlq")
    if of not in ASKING and not of.startswith("saga.steps."):
        _refuse(f"{of} tells what happened, and is written by its owner alone: {remedy(topic)}")
    partition, _, offset = place.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        _refuse(f"{place!r} is no PARTITION/OFFSET: sagahook dead-letters {topic} tells them")
    back = asyncio.run(reading.put_back(topic, int(partition), int(offset)))
    if back is None:
        _refuse(f"{topic} holds nothing at {place}: sagahook dead-letters {topic} tells what it holds")
    typer.echo(f"it is in {back} again; it stays among the dead letters too, until retention takes it")


def _refuse(message: str) -> None:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
