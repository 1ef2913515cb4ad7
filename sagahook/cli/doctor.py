"""`sagahook doctor`: is everything as it has to be, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import typer

from sagahook_schemas.topics import DEFAULT_PREFIX

if TYPE_CHECKING:
    from sagahook.cli.doctor_report import Line

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is looked at. Each but the prefix is None where nobody says it."""

    kafka: str | None
    prefix: str
    database_url: str | None
    url: str | None


def doctor(
    kafka: Annotated[
        str | None, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's.")
    ] = DEFAULT_PREFIX,
    url: Annotated[str | None, typer.Option(envvar="SAGAHOOK_URL", help="Where the API is served.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Of the `sagahook dev` that is meant.", file_okay=False)
    ] = None,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Make no topic for a moment; the broker's clock stays unknown."),
    ] = False,
    production: Annotated[
        bool,
        typer.Option("--production", help="Also what production must have: copies, durability, encryption."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings give exit code 1 too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check Kafka, PostgreSQL, the services and the work; say what to do next. Exit code 1 where something fails.

    PostgreSQL is that of DATABASE_URL. Without settings, the `sagahook dev` that runs on this machine is looked at.
    """
    from sagahook.cli import doctor_report

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say is a line of ours
    deployment = _deployment(kafka, prefix, url, data, os.environ)
    lines = asyncio.run(_check(deployment, writes=not read_only, production=production))
    if as_json:
        typer.echo(doctor_report.as_json(lines))
    else:
        doctor_report.show(lines)
    raise typer.Exit(doctor_report.exit_code(lines, strict))


def _deployment(
    kafka: str | None, prefix: str, url: str | None, data: Path | None, environment: Mapping[str, str]
) -> Deployment:
    """As the settings say, or else as the stack that runs here does. Raises StackError where --data names none, and
    WrongSettings."""
    from sagahook.embedded.errors import StackError
    from sagahook.embedded.registry import find_stack
    from sagahook.runtime.settings import brokers_of_environment, database_url_of_environment

    has_database = bool(environment.get("DATABASE_URL") or environment.get("SAGAHOOK_DATABASE_URL"))
    if data is None and (kafka or has_database):
        brokers = brokers_of_environment(kafka) if kafka else None
        return Deployment(brokers, prefix, database_url_of_environment() if has_database else None, url)
    try:
        stack = find_stack(data, None)
    except StackError:
        if data is not None:
            raise
        return Deployment(None, prefix, None, url)
    return Deployment(stack["kafka"], prefix, stack["postgres"], url or stack["api"])


async def _check(deployment: Deployment, *, writes: bool, production: bool) -> list[Line]:
    from sagahook.cli.doctor_kafka import check_kafka
    from sagahook.cli.doctor_postgres import check_postgres, read_positions
    from sagahook.cli.doctor_readers import Ends
    from sagahook.cli.doctor_report import fail
    from sagahook.cli.doctor_work import check_dead_letters

    lines: list[Line] = []
    ends: Ends | None = None
    read = {} if deployment.database_url is None else await read_positions(deployment.database_url)
    if deployment.kafka is None:
        lines.append(fail("kafka", "nobody says where it is", "set SAGAHOOK_KAFKA, or start: sagahook dev"))
    else:
        found = await check_kafka(deployment.kafka, deployment.prefix, writes=writes, production=production)
        lines += found.lines
        ends = found.ends
    if deployment.database_url is None:
        lines.append(
            fail("postgresql", "nobody says where it is", "set DATABASE_URL, or start: sagahook dev")
        )
    else:
        lines += await check_postgres(deployment.database_url, read, ends, production=production)
    if deployment.kafka is not None and ends is not None:
        lines += await check_dead_letters(deployment.kafka, deployment.prefix)
    if deployment.url is not None:
        lines += await asyncio.to_thread(_health, deployment.url)
    return lines


def _health(url: str) -> list[Line]:
    """What the services behind the address say of themselves."""
    from sagahook.cli.doctor_report import fail, ok, warn

    if not url.startswith(("http://", "https://")):
        return [fail("api", f"{url!r} is no address", "give --url http://host:port, or set SAGAHOOK_URL")]
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=_SECONDS) as response:  # noqa: S310  # http(s) alone, see above
            report = json.loads(response.read())
    except HTTPError as unhealthy:
        try:
            report = json.loads(unhealthy.read())
        except ValueError:
            report = {}
    except (URLError, OSError, ValueError) as away:
        reason = getattr(away, "reason", away)
        return [fail("api", f"{url} does not answer ({reason})", "start it, or set SAGAHOOK_URL")]
    checks = report.get("checks") if isinstance(report, dict) else None
    if not isinstance(checks, dict):
        return [fail("api", f"{url}/health is none of ours", "set SAGAHOOK_URL to where the API is served")]
    bad = [(name, status) for name, status in checks.items() if status != "healthy"]
    lines = [
        (warn if status == "degraded" else fail)(
            "api", f"{name} is {status}", "see the lines above, and its log"
        )
        for name, status in bad
    ]
    return lines or [ok("api", f"{url} is healthy ({', '.join(checks) or 'no checks'})")]
