"""`sagahook topics`: the topics as the registry has them, and as Kafka gets them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from sagahook.runtime.topic_plan import Found, Plan, Step, topics_of
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

Kafka = Annotated[str, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")]
Prefix = Annotated[
    str,
    typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's; every topic's name begins with it."),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        min=1, help=f"Of each topic, for ever. (default: as those there have, else {DEFAULT_PARTITIONS})"
    ),
]
Copies = Annotated[
    int | None,
    typer.Option(
        "--replication-factor", min=1, help="Of what is made. (default: 3, or as many as there are brokers)"
    ),
]
AllowLoss = Annotated[bool, typer.Option("--allow-loss", help="Also set what deletes records.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]

NOTHING, REFUSED, SOMETHING = 0, 1, 2
"""Exit codes of `plan`."""


@app.command("apply")
def apply(
    kafka: Kafka,
    prefix: Prefix = DEFAULT_PREFIX,
    partitions: Partitions = None,
    replication_factor: Copies = None,
    allow_loss: AllowLoss = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a Kafka that does not answer yet.")
    ] = 0,
) -> None:
    """Make the topics that are missing, and set what differs from the registry. To say it again changes nothing.

    Exit code 1, and nothing is changed, where a topic has another number of partitions, or where records would be lost.
    """
    from sagahook.runtime.settings import brokers_of_environment
    from sagahook.runtime.topics import apply_topics, look_at_topics

    async def run() -> Plan:
        brokers = brokers_of_environment(kafka)
        plan = await look_at_topics(
            brokers, prefix, partitions=partitions, copies=replication_factor, allow_loss=allow_loss
        )
        await apply_topics(brokers, prefix, plan)
        return plan

    with one_message(kafka):
        plan = asyncio.run(_patiently(run, wait))
    for step in plan.steps:
        _tell(step)
    there = len(ALL_TOPICS) - sum(topic in ALL_TOPICS for topic in plan.make)
    typer.echo(
        f"{len(plan.make)} topics made, {len(plan.alter)} altered, {there} were there, "
        f"{plan.partitions} partitions each"
    )


@app.command("plan")
def show_plan(
    kafka: Kafka,
    prefix: Prefix = DEFAULT_PREFIX,
    partitions: Partitions = None,
    replication_factor: Copies = None,
    allow_loss: AllowLoss = False,
    as_json: AsJson = False,
) -> None:
    """What `apply` would do with the same options. Exit code 0: nothing; 2: something; 1: it would refuse."""
    from sagahook.runtime.settings import brokers_of_environment
    from sagahook.runtime.topics import look_at_topics

    with one_message(kafka):
        brokers = brokers_of_environment(kafka)
        plan = asyncio.run(
            look_at_topics(
                brokers, prefix, partitions=partitions, copies=replication_factor, allow_loss=allow_loss
            )
        )
    if as_json:
        typer.echo(
            json.dumps({"partitions": plan.partitions, "steps": [asdict(step) for step in plan.steps]})
        )
    else:
        for step in plan.steps:
            _tell(step)
        if not plan.steps:
            typer.echo(f"nothing to do: {plan.partitions} partitions each, settings as the registry has them")
    raise typer.Exit(REFUSED if plan.refused else NOTHING if plan.is_done else SOMETHING)


@app.command("asyncapi")
def tell_asyncapi(
    prefix: Prefix = DEFAULT_PREFIX,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic.")] = DEFAULT_PARTITIONS,
) -> None:
    """The AsyncAPI document of the public topics, with this deployment's names and numbers."""
    from sagahook_schemas.asyncapi import asyncapi

    typer.echo(json.dumps(asyncapi({}, prefix, partitions), indent=2, ensure_ascii=False))


@app.command("list")
def list_topics(
    kafka: Annotated[
        str | None, typer.Option(envvar="SAGAHOOK_KAFKA", help="Tell also what is there. (default: do not)")
    ] = None,
    prefix: Prefix = DEFAULT_PREFIX,
) -> None:
    """The topics of the registry; where Kafka is given, with what it has of them, and those of participants."""
    found: dict[str, Found] = {}
    if kafka is not None:
        from sagahook.runtime.settings import brokers_of_environment
        from sagahook.runtime.topics import topics_there

        with one_message(kafka):
            found = asyncio.run(topics_there(brokers_of_environment(kafka), prefix))
    rows = [
        (
            topic.name(prefix),
            topic.key,
            retention(topic),
            *map(", ".join, (topic.writers, topic.readers)),
            *(_there(found.get(topic.name(prefix))) if kafka is not None else ()),
        )
        for topic in topics_of(prefix, found)
    ]
    head = ("NAME", "KEY", "RETENTION", "WRITERS", "READERS")
    typer.echo(_aligned([head + (("PARTITIONS", "COPIES") if kafka is not None else ()), *rows]))


def _there(found: Found | None) -> tuple[str, str]:
    return ("missing", "-") if found is None else (str(found.partitions), str(found.copies))


def _tell(step: Step) -> None:
    typer.echo(f"{step.verb:<8}{step.topic}: {step.says}")
    if step.then is not None:
        typer.echo(f"{'':<8}→ {step.then}")


Done = TypeVar("Done")


async def _patiently(act: Callable[[], Awaitable[Done]], seconds: float) -> Done:
    """Again and again while Kafka does not answer, for so long."""
    from aiokafka.errors import KafkaError

    until = time.monotonic() + seconds
    while True:
        try:
            return await act()
        except (KafkaError, OSError):
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(1)


@contextmanager
def one_message(kafka: str) -> Iterator[None]:
    """What a person can act on ends the command with a line, and exit code 1."""
    from aiokafka.errors import KafkaError

    from sagahook.runtime.topics import TopicsMismatch

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say is a line of ours
    try:
        yield
    except (KafkaError, OSError) as away:
        refuse(f"Kafka at {kafka} does not answer ({away or type(away).__name__}): is it running there?")
    except TopicsMismatch as mismatch:
        refuse(str(mismatch))


def reference() -> str:
    """docs/reference/topics.md; what it says of the commands stands in topics.md beside this file."""
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
them. Services wait for missing ones, and refuse to start where the numbers of partitions differ; they make none but
`saga.steps.<participant>`, which [participants](participants.md) read: the runner makes it when a saga that names the
participant is deployed.

{_table(("name", "key", "holds", "kept", "largest record", "written by", "read by"), rows)}
Records are CloudEvents 1.0 in Kafka's binary mode: the headers are described by
[sagahook.envelope.json](../../schemas/json/sagahook.envelope.json), and the value by the JSON Schema that
`ce_type` names ([events](events.md)). The value of `webhooks.received` is the webhook's raw body,
and that of `saga.state` is the runner's own. Read at `read_committed`; what other systems may read, and what they
can rely on: [consuming](../consuming.md).
{Path(__file__).with_suffix(".md").read_text()}"""


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


def refuse(message: str) -> NoReturn:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
