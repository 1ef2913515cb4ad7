"""`sagahook kafka PROGRAM`: Kafka's own command-line programs, from the jars of the embedded broker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

PROGRAMS = {
    "acls": "org.apache.kafka.tools.AclCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}
"""What Kafka's distribution has as `bin/kafka-<name>.sh`, and the class that each is."""

_HEAP_MB = 256


def kafka(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help=", ".join(PROGRAMS) + ".")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="…", help="The program's own; `--help` shows them.")
    ] = None,
) -> None:
    """Run one of Kafka's own programs: `sagahook kafka console-consumer --bootstrap-server …` is what
    `kafka-console-consumer.sh` is elsewhere. Needs nothing installed; the first call fetches what is not there."""
    from sagahook.embedded.kafka_prepare import prepare_kafka

    if program not in PROGRAMS:
        typer.echo(f"sagahook: there is no {program}; there are {', '.join(PROGRAMS)}", err=True)
        raise typer.Exit(1)
    runtime = asyncio.run(prepare_kafka())
    command = runtime.command(PROGRAMS[program], *(arguments or ()), heap_mb=_HEAP_MB, log=Path(os.devnull))
    os.execve(command.argv[0], command.argv, dict(command.env))  # noqa: S606  # the JRE that was just found
