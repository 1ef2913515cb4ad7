"""`sagahook topics repartition`: another number of partitions, by another generation of topics."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from sagahook.cli.topics import Kafka, Prefix, one_message, refuse
from sagahook_schemas.generations import next_generation
from sagahook_schemas.topics import DEFAULT_PREFIX


def repartition(
    kafka: Kafka,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic of the new generation.")],
    prefix: Prefix = DEFAULT_PREFIX,
    to: Annotated[
        str | None,
        typer.Option(
            help="The prefix of the new generation. (default: sagahook → sagahook.g2 → sagahook.g3)"
        ),
    ] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Of what is made. (default: as the topics there have)")
    ] = None,
    without_notifier: Annotated[
        bool, typer.Option("--without-notifier", help="There is none whose offsets DATABASE_URL would name.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be moved.")] = False,
) -> None:
    """Move everything to a new generation of topics with another number of partitions, while all services are stopped.

    Refuses while anybody is in their groups. The old topics stay as they are. To say it again after it was
    interrupted begins anew. The notifier's offsets are in DATABASE_URL.
    """
    from sagahook.cli.repartitioning.generation import Refused
    from sagahook.cli.repartitioning.moving import Move, plan
    from sagahook.cli.repartitioning.moving import repartition as run
    from sagahook.runtime.batches import Unavailable
    from sagahook.runtime.database import NotMigrated
    from sagahook.runtime.settings import brokers_of_environment, database_url_of_environment

    with one_message(kafka):
        target = to or next_generation(prefix)
        database = None if without_notifier else database_url_of_environment()
        move = Move(brokers_of_environment(kafka), prefix, target, partitions, replication_factor, database)
        try:
            asyncio.run((plan if dry_run else run)(move, typer.echo))
        except (Refused, Unavailable, NotMigrated) as refused:
            refuse(str(refused))
    if not dry_run:
        typer.echo(_NEXT.format(prefix=prefix, target=target))


def retire(
    kafka: Kafka,
    prefix: Prefix = DEFAULT_PREFIX,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them, and do not only tell which.")] = False,
) -> None:
    """Delete the topics of a generation that everything has moved from.

    There is no way back then; and only then is what was erased since really gone.
    """
    from sagahook.cli.repartitioning.retiring import retired
    from sagahook.runtime.settings import brokers_of_environment

    with one_message(kafka):
        names = asyncio.run(retired(brokers_of_environment(kafka), prefix, delete=yes))
    for name in names:
        typer.echo(name)
    typer.echo(f"{len(names)} topics {'deleted' if yes else 'would be deleted: say it with --yes'}")


_NEXT = """\
now:
  1. give every service, participant and command SAGAHOOK_TOPIC_PREFIX={target}
  2. sagahook tracker rebuild       # with that prefix: the views name records by where they lie
  3. start saga-runner, the projector, the APIs and the notifier, then ingest
  4. sagahook doctor, sagahook tracker verify
when all is well, and no way back is wanted: sagahook topics retire --prefix {prefix}
(docs/operating/repartition.md)"""
