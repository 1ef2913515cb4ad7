"""The production checklist's commands are run as they stand there, against real parts."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from tests.tracker_harness import Tracker, open_tracker
from tests.tracker_log import SagaLog, received

PAGE = Path(__file__).parents[2] / "docs" / "operating" / "checklist.md"
SOURCES = {"shop": {"scheme": "github", "secrets": "a-shared-secret"}}

NOT_WELL_HERE = {
    "sagahook doctor --production": "1 broker, version",  # one broker, no TLS
    "sagahook doctor": "offsets-that-are-gone",  # no runner has ever run here
    "sagahook doctor --strict": "nobody reads as",
    "sagahook sources list --offline": "shop",
}
"""What a command says on one machine where nothing but the views' projector runs; others say what the page says."""


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as tracker, tracker.projecting():
        await tracker.log.write(
            [received("e-1", "c"), *SagaLog("s-1").started("e-1", "c").completed().written]
        )
        await tracker.until_caught_up()
        yield tracker


def lines() -> dict[str, str]:
    """Commands of the page, with what they say when it is well."""
    rows = re.findall(r"^\| .* \| `(sagahook [^`]+)`[^|]* \| (.+) \|$", PAGE.read_text(), re.M)
    return dict(rows)


async def run(tracker: Tracker, command: str) -> Result:
    environment = {
        "SAGAHOOK_KAFKA": tracker.settings.kafka,
        "SAGAHOOK_TOPIC_PREFIX": tracker.settings.topic_prefix,
        "DATABASE_URL": tracker.settings.database_url.get_secret_value(),
        "SAGAHOOK_SOURCES": json.dumps(SOURCES),
        "COLUMNS": "200",
    }
    words = shlex.split(command)[1:]
    # Its own event loop runs in a thread of its own.
    return await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)


async def test_each_command_of_the_checklist_runs_and_tells_what_it_should(tracker: Tracker) -> None:
    checks = lines()
    assert len(checks) >= 10

    told = {command: await run(tracker, command) for command in checks}

    for command, result in told.items():
        said = NOT_WELL_HERE.get(command)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            command,
            result.exception,
        )
        assert result.exit_code == (
            0 if said is None or command == "sagahook sources list --offline" else 1
        ), (
            command,
            result.output,
        )
        expected = [said] if said else re.findall(r"^`([^`]+)`$", checks[command])
        assert all(each in result.output for each in expected), (command, result.output)
