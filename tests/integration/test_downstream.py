"""Programs downstream of the saga log, on a real broker: they see what was committed, once each, and go on when the
contracts change. And the document that tells of it all is valid, before and after."""

import asyncio
import json
import shlex
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
import pytest_asyncio

from sagahook.cli import contracts
from sagahook.embedded.ports import free_port
from sagahook.runtime.topics import ensure_topics
from tests.changed_contracts import (
    BREAKING,
    COMPATIBLE,
    HERE,
    PAUSED,
    PAUSED_EXAMPLE,
    Release,
    changed,
    released,
    written_there,
)
from tests.downstream import ENDS, DownstreamLog, Program
from tests.node_tools import run_script
from tests.runner_harness import PARTITIONS, RunnerHarness

BODIES: dict[str, list[dict[str, Any]]] = {
    "shop": [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4, "declined": True}, {"id": 5, "stuck": True}],
    "hub": [{"id": 1}, {"id": 2}],
}
NOW, LATER = 7, 3
"""Sagas of this release, and of the next."""

CONSUMING = HERE / "docs" / "consuming.md"


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("next")
    changed(folder, COMPATIBLE, {PAUSED_EXAMPLE: '{"actor": "ada@shop.example"}\n'})
    return folder


@pytest_asyncio.fixture(scope="module")
async def compatible_and_breaking(
    next_release: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Release, Release]:
    folder = tmp_path_factory.mktemp("breaking")
    changed(folder, BREAKING, {})
    return await asyncio.gather(released(next_release), released(folder))


@pytest.fixture(scope="module")
def compatible(compatible_and_breaking: tuple[Release, Release]) -> Release:
    return compatible_and_breaking[0]


@pytest.fixture(scope="module")
def breaking(compatible_and_breaking: tuple[Release, Release]) -> Release:
    return compatible_and_breaking[1]


@pytest_asyncio.fixture(scope="module")
async def log(
    kafka_bootstrap: str, module_prefix: str, tmp_path_factory: pytest.TempPathFactory, next_release: Path
) -> AsyncIterator[DownstreamLog]:
    """A real run; then what a transaction took back; then what the next release wrote."""
    folder = tmp_path_factory.mktemp("downstream")
    await ensure_topics(kafka_bootstrap, module_prefix, PARTITIONS)
    runners = RunnerHarness(kafka_bootstrap, module_prefix, folder, app="tests.apps.two_sources")
    try:
        for source, bodies in BODIES.items():
            await runners.publish(bodies, source)
        await runners.start_runner()
        log = DownstreamLog(kafka_bootstrap, module_prefix, folder)
        await log.see(NOW)
    finally:
        await runners.stop()
    later = await written_there(next_release)
    await log.append(
        [
            {**each, "headers": {**each["headers"], "ce_id": f"aborted/{each['headers']['ce_id']}"}}
            for each in later
        ],
        commit=False,
    )
    await log.append(later, commit=True)
    await log.see(NOW + LATER)
    yield log


# -- the document -------------------------------------------------------------------------------------------


async def test_the_official_parser_has_nothing_to_say_of_todays_document_nor_of_the_next_releases(
    compatible: Release, tmp_path: Path
) -> None:
    today = HERE / contracts.ASYNCAPI
    document = _with_one_message("saga.events", "sagahook.saga.completed.v1", json.loads(today.read_text()))
    document["channels"]["saga.events"]["bindings"]["kafka"]["partitions"] = "four"
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    asked = [str(today), str(compatible.document), str(tmp_path / "wrong.json")]

    now, next_, wrong = [
        json.loads(line)
        for line in (await run_script("check_asyncapi.mjs", DOCUMENTS=json.dumps(asked))).splitlines()
    ]

    assert now["problems"] == next_["problems"] == []
    assert any("bindings/kafka/partitions" in problem for problem in wrong["problems"])
    assert now["channels"] == next_["channels"]
    assert now["examples"] >= now["messages"]
    assert (next_["messages"], next_["examples"]) == (now["messages"] + 1, now["examples"] + 1)


def _with_one_message(channel: str, message: str, document: dict[str, Any]) -> dict[str, Any]:
    """The parser takes seconds for all of it."""
    kept = {**document["channels"][channel]}
    kept["messages"] = {message: kept["messages"][message]}
    messages = {message: document["components"]["messages"][message]}
    return {
        **document,
        "channels": {channel: kept},
        "operations": {},
        "components": {**document["components"], "messages": messages},
    }


def test_the_next_releases_document_is_written_anew_and_then_accepted(compatible: Release) -> None:
    assert contracts.ASYNCAPI in compatible.written
    assert compatible.code == 0, compatible.said
    channel = json.loads(compatible.document.read_text())["channels"]["saga.events"]
    assert PAUSED in channel["messages"]


def test_a_release_that_renames_a_field_is_refused(breaking: Release) -> None:
    assert breaking.code == 1
    assert "sagahook.saga.failed.v1.json: `unresolved` was removed" in breaking.said


def test_every_record_that_was_written_is_as_the_document_has_it(
    log: DownstreamLog, compatible: Release
) -> None:
    document = json.loads(compatible.document.read_text())
    components = {"components": document["components"]}

    for record in log.seen:
        message = document["components"]["messages"][record.kind]
        jsonschema.Draft202012Validator({**message["headers"], **components}).validate(record.headers)
        jsonschema.Draft202012Validator({**message["payload"], **components}).validate(record.data)
    assert {"sagahook.owner.acquired.v1", "sagahook.step.failed.v1", PAUSED, *ENDS} <= {
        record.kind for record in log.seen
    }


# -- faust-streaming ----------------------------------------------------------------------------------------


async def test_a_stream_processor_counts_each_outcome_once_by_source_and_minute(log: DownstreamLog) -> None:
    async with rates_of(log) as (program, port):
        await program.until(partial(log.is_committed, f"{log.prefix}-success-rates"))

        rates = await shown(port)

    assert added(rates) == log.by_source()
    assert log.by_source()["shop"] == {"succeeded": 4, "failed": 3}
    assert all(each["rate"] == each["succeeded"] / (each["succeeded"] + each["failed"]) for each in rates)


@pytest.mark.long
@pytest.mark.timeout(900)  # who takes over waits for the dead one's transaction, at times over a minute
async def test_a_stream_processor_that_is_killed_again_and_again_counts_each_outcome_once(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    log = DownstreamLog(kafka_bootstrap, topic_prefix, tmp_path)
    group = f"{topic_prefix}-success-rates"
    for number in range(2):
        async with rates_of(log) as (program, _):
            await log.append_sagas("shop", range(number * 100, number * 100 + 50))
            await log.see(number * 100 + 50)
            await program.until(partial(log.is_committed, group))
            await log.append_sagas("shop", range(number * 100 + 50, number * 100 + 100))
            await program.kill()

    async with rates_of(log) as (program, port):
        await log.see(200)
        await program.until(partial(log.is_committed, group))
        rates = await shown(port)

    assert added(rates) == log.by_source() == {"shop": {"succeeded": 133, "failed": 67}}


@pytest.mark.long
@pytest.mark.timeout(900)  # and two that join wait for each other
async def test_two_stream_processors_share_the_partitions_and_one_takes_over_those_of_the_other(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    log = DownstreamLog(kafka_bootstrap, topic_prefix, tmp_path)
    await log.append_sagas("shop", range(30))
    await log.see(30)
    async with rates_of(log) as (first, one), rates_of(log) as (second, other):

        async def shared() -> bool:
            shares = [await shown(one), await shown(other)]
            return all(shares) and added([*shares[0], *shares[1]]) == log.by_source()

        async def taken_over() -> bool:
            return added(await shown(other)) == log.by_source()

        await second.until(partial(log.is_committed, f"{topic_prefix}-success-rates"))
        await second.until(shared)
        await first.kill()
        await log.append_sagas("shop", range(30, 60))
        await log.see(60)
        await second.until(taken_over)


@asynccontextmanager
async def rates_of(log: DownstreamLog) -> AsyncIterator[tuple[Program, int]]:
    port = free_port()
    arguments = ("worker", "--web-port", str(port), "--web-bind", "127.0.0.1")
    partitions = {"PARTITIONS": str(PARTITIONS), "SESSION_TIMEOUT": "6"}
    async with log.program("success_rates", *arguments, **partitions) as program:
        yield program, port


async def shown(port: int) -> list[dict[str, Any]]:
    """Nothing while it does not answer yet."""
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.get("/rates/") as answer,
        ):
            rates: list[dict[str, Any]] = await answer.json()
            return rates
    except aiohttp.ClientConnectionError:
        return []


def added(rates: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Over all minutes."""
    found: dict[str, Counter[str]] = {}
    for each in rates:
        counted = {name: each[name] for name in ("succeeded", "failed") if each[name]}
        found.setdefault(each["source"], Counter()).update(counted)
    return found


# -- confluent-kafka ----------------------------------------------------------------------------------------


async def test_a_plain_consumer_has_every_outcome_once_however_often_it_reads_the_log(
    log: DownstreamLog, tmp_path: Path
) -> None:
    database = tmp_path / "outcomes.db"
    for group in (f"{log.prefix}-first", f"{log.prefix}-again"):
        async with log.program("outcomes", GROUP=group, DATABASE=str(database)) as program:
            await program.until(partial(log.is_committed, group))

    with sqlite3.connect(database) as opened:
        rows = opened.execute("SELECT event_id, outcome FROM outcomes").fetchall()
    assert len(rows) == NOW + LATER
    assert dict(rows) == log.outcomes()


# -- aiokafka and CloudEvents -------------------------------------------------------------------------------


async def test_troubles_come_as_cloud_events_with_what_the_log_says_of_them(log: DownstreamLog) -> None:
    group = f"{log.prefix}-troubles"
    async with log.program("troubles", GROUP=group) as program:
        await program.until(partial(log.is_committed, group))
        told = [json.loads(line) for line in program.printed()]

    failed = {record.id: record for record in log.seen if record.kind == "sagahook.saga.failed.v1"}
    assert {each["id"] for each in told} == failed.keys()
    for each in told:
        record = failed[each["id"]]
        assert (each["specversion"], each["type"], each["sagaid"]) == ("1.0", record.kind, record.key)
        assert each["data"] == record.data


# -- Kafka's own console consumer ---------------------------------------------------------------------------


async def test_kafkas_console_consumer_shows_headers_and_what_was_committed_as_the_page_says(
    log: DownstreamLog,
) -> None:
    command = next(
        line for line in CONSUMING.read_text().replace("\\\n", "").splitlines() if "console-consumer" in line
    )
    words = [
        {"localhost:9092": log.bootstrap, "sagahook.saga.events": log.topic}.get(word, word)
        for word in shlex.split(command)
    ]
    assert words[:2] == ["sagahook", "kafka"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", *words[1:], "--max-messages", str(len(log.seen))),
        stdout=asyncio.subprocess.PIPE,
    )

    printed, _ = await process.communicate()

    lines = [line.split("\t") for line in printed.decode().splitlines() if line.startswith("ce_")]
    shown = {dict(pair.split(":", 1) for pair in headers.split(","))["ce_id"] for headers, _, _ in lines}
    assert process.returncode == 0
    assert shown == {record.id for record in log.seen}
