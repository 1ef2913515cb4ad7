"""`sagahook topics`: the topics as the registry has them, and as Kafka gets them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import typer

from sagahook_schemas.topics import (
    ALL_TOPICS,
    DEAD_LETTER_TOPICS,
    DEFAULT_PARTITIONS,
    DEFAULT_PREFIX,
    FOREVER,
    TOPICS,
    Topic,
    steps_topic,
)

app = typer.Typer(help="The Kafka topics of a deployment.", no_args_is_help=True)

_STEPS = replace(
    steps_topic("x"), base="saga.steps.<participant>", holds="steps that a participant is asked to do"
)
_OF_A_PARTICIPANT = (_STEPS, _STEPS.dead_letters)

Prefix = Annotated[
    str,
    typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's; every topic's name begins with it."),
]
Partitions = Annotated[int, typer.Option(min=1, help="Of each topic. It can not be changed later.")]


@app.command()
def create(
    kafka: Annotated[str, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")],
    prefix: Prefix = DEFAULT_PREFIX,
    partitions: Partitions = DEFAULT_PARTITIONS,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="(default: 3, or as many as there are brokers)")
    ] = None,
) -> None:
    """Make the topics that are missing. To say it again changes nothing."""
    from aiokafka.errors import KafkaError

    from sagahook.runtime.topics import TopicsMismatch, ensure_topics

    try:
        made = asyncio.run(ensure_topics(kafka, prefix, partitions, replication_factor=replication_factor))
    except TopicsMismatch as mismatch:
        _refuse(str(mismatch))
    except (KafkaError, OSError) as away:
        _refuse(f"Kafka at {kafka} does not answer ({away or type(away).__name__}): is it running there?")
    else:
        there = len(ALL_TOPICS) - len(made)
        typer.echo(f"{len(made)} topics made, {there} were there, {partitions} partitions each")


@app.command("list")
def list_topics(prefix: Prefix = DEFAULT_PREFIX, partitions: Partitions = DEFAULT_PARTITIONS) -> None:
    """The topics that `create` makes with the same options."""
    rows = [
        (
            topic.name(prefix),
            topic.key,
            str(partitions),
            retention(topic),
            *map(", ".join, (topic.writers, topic.readers)),
        )
        for topic in ALL_TOPICS
    ]
    typer.echo(_aligned([("NAME", "KEY", "PARTITIONS", "RETENTION", "WRITERS", "READERS"), *rows]))


def reference() -> str:
    """docs/reference/topics.md."""
    rows = [
        (
            f"`{topic.base}`",
            topic.key,
            topic.holds,
            retention(topic),
            _size(topic.max_bytes),
            ", ".join(topic.writers),
            ", ".join(topic.readers),
        )
        for topic in (*TOPICS, *_OF_A_PARTICIPANT, *DEAD_LETTER_TOPICS)
    ]
    return f"""\
# Topics

<!-- Generated from sagahook_schemas/topics.py by `make schemas`; changes here are lost. -->

A topic's full name is `<prefix>.<name>`; the prefix is `{DEFAULT_PREFIX}` unless `SAGAHOOK_TOPIC_PREFIX` says
otherwise. All topics of a deployment have the same number of partitions ({DEFAULT_PARTITIONS} by default), which
is fixed when they are made: whatever belongs to a key lives in partition `crc32(key) mod partitions` of each of
them. `sagahook topics create` makes them. Services wait for missing ones, and refuse to start where the numbers
of partitions differ; they make none but `saga.steps.<participant>`, which [participants](participants.md) read: the
runner makes it when a saga that names the participant is deployed.

{_table(("name", "key", "holds", "kept", "largest record", "written by", "read by"), rows)}
Records are CloudEvents 1.0 in Kafka's binary mode: the headers are described by
[sagahook.envelope.json](../../schemas/json/sagahook.envelope.json), and the value by the JSON Schema that
`ce_type` names in [schemas/json](../../schemas/json). The value of `webhooks.received` is the webhook's raw body,
and that of `saga.state` is the runner's own. Read at `read_committed`.
"""


def retention(topic: Topic) -> str:
    if topic.compacted:
        return "newest of each key"
    return "for ever" if topic.retention == FOREVER else f"{topic.retention // timedelta(days=1)} days"


def _size(limit: int) -> str:
    return f"{limit // 1024**2} MiB"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def _refuse(message: str) -> None:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
