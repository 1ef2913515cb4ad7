"""`sagahook sagas` and `sagahook diagram`, against the API on real Kafka and PostgreSQL."""

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook_schemas.codec import decode
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition, TriggerDefinition
from tests.tracker_harness import Tracker, open_tracker
from tests.tracker_log import SagaLog, deployed

KEY = "an operator's key"
HASHES = {"operator": hashlib.sha256(KEY.encode()).hexdigest()}
ORDER = SagaDefinition(
    name="order",
    version=3,
    triggers=(),
    steps=tuple(
        StepDefinition(name=name, timeout=10, retry=Retry()) for name in ("reserve", "charge", "ship")
    ),
)


Run = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with (
        open_tracker(kafka_bootstrap, topic_prefix, database_url, api_keys=HASHES) as tracker,
        tracker.projecting(),
    ):
        yield tracker


@pytest_asyncio.fixture
async def environment(tracker: Tracker) -> AsyncIterator[dict[str, str]]:
    """What command lines are told by."""
    async with tracker.api() as api:
        yield {"SAGAHOOK_URL": str(api.http._base_url), "SAGAHOOK_KEY": KEY, "COLUMNS": "200"}


@pytest_asyncio.fixture
async def run(environment: dict[str, str]) -> Run:
    """A command line. answer: to what it asks."""

    async def run(*words: str, answer: str = "") -> Result:
        # The API's log would stand in what the command says.
        with capture_logs():
            return await asyncio.to_thread(CliRunner().invoke, app, words, input=answer, env=environment)

    return run


def stuck(saga_id: str) -> SagaLog:
    """FAILED: the compensation of `reserve` failed for good."""
    log = (
        SagaLog(saga_id).started("e", "c").done("reserve").scheduled("charge").failed_attempt("charge", "No")
    )
    log.compensating("charge", "No", "reserve").scheduled("reserve", phase="compensation")
    return log.failed_attempt("reserve", "Gone", phase="compensation").failed("charge", "No", "reserve")


async def told(tracker: Tracker, *logs: SagaLog) -> None:
    await tracker.log.write([record for log in logs for record in log.written])
    await tracker.until_caught_up()


async def commands(tracker: Tracker) -> list[tuple[str, dict[str, object]]]:
    """saga id and data of each"""
    decoded = [decode(record.headers, record.value) for record in await tracker.commands()]
    return [(envelope.saga_id, data.model_dump()) for envelope, data in decoded]


async def test_sagas_are_listed_shown_and_drawn(tracker: Tracker, run: Run) -> None:
    await tracker.log.write([deployed(ORDER)])
    await told(tracker, stuck("s-1"), SagaLog("s-2").started("e", "c").awaiting("approve", "approval"))
    listed = await run("sagas", "list", "--state", "failed", "--where", "version=3")
    assert ("s-1" in listed.output, "s-2" in listed.output, listed.exit_code) == (True, False, 0)
    assert [saga["saga_id"] for saga in json.loads((await run("sagas", "list", "--json")).output)] == [
        "s-2",
        "s-1",
    ]
    shown = (await run("sagas", "show", "s-2")).output
    assert "signal approval" in shown
    assert "left behind" in (await run("sagas", "show", "s-1")).output
    assert (await run("diagram", "--saga", "s-1")).output.startswith("flowchart TD\n")
    assert (await run("diagram", "--definition", "order", "--version", "3")).output.startswith(
        "flowchart TD\n"
    )


async def test_what_senders_wrote_does_not_drive_the_terminal(tracker: Tracker, run: Run) -> None:
    await told(tracker, SagaLog("s-1").started("e", "c").declined(error="\x1b[2J[bold]no[/]"))
    for words in (("sagas", "list"), ("sagas", "show", "s-1"), ("sagas", "watch", "s-1")):
        output = (await run(*words)).output
        assert ("\x1b" in output, "[2J[bold]no[/]" in output) == (False, True)


async def test_one_saga_is_acted_on(tracker: Tracker, run: Run) -> None:
    await told(tracker, stuck("s-1"), SagaLog("s-2").started("e", "c"))
    by = ("--actor", "ada", "--reason", "typo")
    for words in (
        ("sagas", "resolve", "s-1", "--how", "skip", *by),
        ("sagas", "retry", "s-1", *by),
        ("sagas", "cancel", "s-2", *by),
        ("sagas", "signal", "approval", "s-2", "--payload", "[1]", "--signal-id", "m-1", *by),
    ):
        done = await run(*words)
        assert (done.exit_code, done.output.startswith("accepted as command ")) == (0, True), done.output
    who: dict[str, object] = {"actor": "ada", "reason": "typo"}
    asked = await commands(tracker)
    for each in (
        ("s-1", who | {"step": "reserve", "how": "skip"}),
        ("s-1", who),
        ("s-2", who),
        ("s-2", who | {"signal": "approval", "signal_id": "m-1", "payload": [1]}),
    ):
        assert each in asked


async def test_many_are_acted_on_only_when_that_is_confirmed(tracker: Tracker, run: Run) -> None:
    await told(tracker, SagaLog("s-1").started("e", "c"), SagaLog("s-2").started("e", "c"), stuck("s-3"))
    words = ("sagas", "cancel", "--name", "order")
    refused = await run(*words, answer="n\n")
    assert ("2 sagas: " in refused.output, "Nothing was done" in refused.output, refused.exit_code) == (
        True,
        True,
        1,
    )
    assert await commands(tracker) == []
    assert "accepted for 2 sagas" in (await run(*words, answer="y\n")).output
    assert {saga_id for saga_id, _ in await commands(tracker)} == {"s-1", "s-2"}
    assert (await run("sagas", "resolve", "--name", "order", "--yes")).exit_code == 0
    assert ("s-3", "resolve") in {(saga_id, data.get("how")) for saga_id, data in await commands(tracker)}
    assert "nothing was done" in (await run(*words, "--state", "COMPLETED", "--yes")).output


async def test_a_saga_is_watched_until_it_is_final(tracker: Tracker, environment: dict[str, str]) -> None:
    log = SagaLog("s-1").started("e", "c").done("reserve")
    await told(tracker, log)
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "sagas", "watch", "s-1"),
        stdout=PIPE,
        env={**os.environ, **environment},
    )
    assert watching.stdout is not None
    assert await watching.stdout.readline() == b"EXECUTING  33%  reserve completed\n"
    await tracker.log.write(log.completed().written)
    assert await watching.stdout.read() == b"COMPLETED  100%  reserve completed\n"
    assert await watching.wait() == 0


ERRORS = [
    (("sagas", "show", "unheard-of"), "There is no saga 'unheard-of': check the id"),
    (("sagas", "cancel", "done"), "is COMPLETED, and final"),
    (("sagas", "cancel"), "give a saga's id, or --state, --name or --where"),
    (("sagas", "resolve", "done"), "Say which step with --step"),
    (("sagas", "signal", "a", "done", "--payload", "{"), "is not JSON"),
    (("sagas", "signal", "a", "--name", "order", "--signal-id", "1"), "leave it out"),
    (("sagas", "list", "--where", "colour=red"), "is not understood: give version="),
    (("sagas", "list", "--state", "lost"), "query.state.0"),
    (("sagas", "list", "--key", "wrong"), "a key of the role reader is needed"),
    (("sagas", "list", "--url", "http://127.0.0.1:1"), "is it running there?"),
    (("sagas", "list", "--url", "file:///etc/passwd"), "is no address of an API"),
    (("diagram",), "Give one of MODULE[:SAGA], --saga ID and --definition NAME"),
    (("diagram", "no.such.module"), "there is no module no.such.module"),
]


async def test_an_error_is_one_line_that_says_what_to_do(tracker: Tracker, run: Run) -> None:
    await told(tracker, SagaLog("done").started("e", "c").completed())
    for words, says in ERRORS:
        result = await run(*words)
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
        assert result.output.startswith("sagahook: ")
        assert says in result.output


def test_a_saga_is_drawn_from_its_code() -> None:
    orders = str(Path(__file__).parents[2] / "examples/orders/sagahook_orders/app.py")
    drawn = CliRunner().invoke(app, ["diagram", orders])
    assert (drawn.exit_code, drawn.output.startswith("flowchart TD\n")) == (0, True), drawn.output
    wrong = CliRunner().invoke(app, ["diagram", f"{orders}:parcel"])
    assert (wrong.exit_code, "has no saga 'parcel'" in wrong.output) == (1, True)


async def test_definitions_and_sources_are_listed_paused_and_resumed(tracker: Tracker, run: Run) -> None:
    wants = TriggerDefinition(source="shop")
    await tracker.log.write([deployed(ORDER.model_copy(update={"triggers": (wants,)}))])
    await tracker.until_caught_up()

    async def pauses(*words: str) -> list[object]:
        return [each["paused"] for each in json.loads((await run(*words, "list", "--json")).output)]

    assert (await pauses("definitions"), await pauses("sources")) == ([False], [False])
    by = ("--actor", "ada", "--reason", "the \x1b[2Jbank")
    refused = await run("definitions", "pause", "order", *by)
    assert (refused.exit_code, refused.output.startswith("sagahook: body.reason")) == (1, True)
    by = ("--actor", "ada", "--reason", "the bank")
    for words in (("definitions", "pause", "order"), ("sources", "pause", "shop")):
        done = await run(*words, *by)
        assert (done.exit_code, done.output.startswith("accepted as command ")) == (0, True), done.output
    assert (await pauses("definitions"), await pauses("sources")) == ([True], [True])
    for line, told in (("definitions", ["order", "3", "shop"]), ("sources", ["shop", "order"])):
        cells = (await run(line, "list")).output.split()
        assert all(told_one in cells for told_one in [*told, "yes", "ada", "bank"]), cells
    await run("sources", "resume", "shop", *by)
    assert (await pauses("definitions"), await pauses("sources")) == ([True], [False])
    unknown = await run("definitions", "resume", "nothing", *by)
    assert unknown.exit_code == 1
    assert unknown.output == "sagahook: No saga 'nothing' is deployed: check its name\n"
