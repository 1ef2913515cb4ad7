"""`sagahook doctor` on real Kafka and PostgreSQL: what it finds wrong, and what it says to do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
import pytest_asyncio
from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from sagahook_schemas.sagas import SagaSuspended
from sagahook_schemas.topics import SAGA_EVENTS
from tests.tracker_harness import Tracker, open_tracker
from tests.tracker_log import SagaLog, deployed

ORDER = SagaDefinition(
    name="order", version=3, triggers=(), steps=(StepDefinition(name="charge", timeout=10, retry=Retry()),)
)


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as tracker, tracker.projecting():
        await tracker.log.write([deployed(ORDER)])
        await tracker.until_caught_up()
        yield tracker


async def doctor(tracker: Tracker, *options: str) -> dict[str, list[dict[str, Any]]]:
    """Its lines, by their checks."""
    environment = {
        "SAGAHOOK_KAFKA": tracker.settings.kafka,
        "SAGAHOOK_TOPIC_PREFIX": tracker.settings.topic_prefix,
        "DATABASE_URL": tracker.settings.database_url.get_secret_value(),
    }
    # Its own event loop runs in a thread of its own.
    words = ["doctor", "--json", "--read-only", *options]
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    report = told(result.output)
    assert result.exit_code == int(report["verdict"] == "fail"), result.output
    checks: dict[str, list[dict[str, Any]]] = {}
    for line in report["checks"]:
        checks.setdefault(line["check"], []).append(line)
    return checks


def told(output: str) -> Any:
    """What it printed, among what the projector in this process logs meanwhile."""
    [report] = re.findall(r"^\{\n.*?^\}$", output, re.M | re.S)
    return json.loads(report)


async def test_a_deployment_that_is_well_has_nothing_to_do_but_to_start_its_readers(tracker: Tracker) -> None:
    checks = await doctor(tracker)

    wanting = {name for name, lines in checks.items() if any(line["verdict"] != "ok" for line in lines)}
    assert wanting <= {"readers", "notifier"}, checks
    assert "version 4.1" in checks["kafka"][0]["says"]


async def test_views_that_go_on_while_it_looks_are_not_taken_for_those_of_another_log(
    tracker: Tracker,
) -> None:
    async def write_on() -> None:
        for number in count():
            log = SagaLog(f"on-{number}").started(f"on-{number}", "c")
            await tracker.log.write(log.written)

    writing = asyncio.create_task(write_on())
    try:
        checks = await doctor(tracker)
    finally:
        writing.cancel()

    assert [line["verdict"] for line in checks["views"]] == ["ok"], checks["views"]


async def test_a_version_that_sagas_wait_for_is_named_with_how_many_wait(tracker: Tracker) -> None:
    gone = SagaSuspended(reason="order 2 is not deployed", cause="definition")
    logs = [SagaLog(f"s-{number}").started(f"e-{number}", "c").add(gone) for number in range(2)]
    await tracker.log.write([written for log in logs for written in log.written])
    await tracker.until_caught_up()

    [line] = (await doctor(tracker))["definitions"]

    assert line["verdict"] == "fail"
    assert line["says"].startswith("2 sagas wait for order 3: no runner has it")
    assert "deploy order 3" in line["next"]


async def test_receivers_that_are_not_reached_are_named_and_what_was_given_up_is_counted(
    tracker: Tracker,
) -> None:
    now = datetime.now(UTC)
    connection = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    for endpoint, disabled_at in (("well", None), ("off", now), ("failing", None), ("just-failed", None)):
        await connection.execute(
            """
            INSERT INTO notifier.endpoints (
                id, origin, url, event_types, payload_format, retry_policy, headers, enabled, created_at, updated_at,
                disabled_at, disabled_reason
            )
            VALUES ($1, 'api', 'https://r.example', '{}', 'standard', '"standard"', '{}', TRUE, $2, $2, $3, 'a 410')
            """,
            endpoint,
            now,
            disabled_at,
        )
    for endpoint, minutes in (("failing", 20), ("just-failed", 1)):
        await connection.execute(
            "INSERT INTO notifier.endpoint_health (endpoint_id, failing_since, error) VALUES ($1, $2, 'token=hunter2')",
            endpoint,
            now - timedelta(minutes=minutes),
        )
    await connection.execute(
        """
        INSERT INTO notifier.deliveries (
            id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, status, attempts, claimable_at,
            created_at
        )
        VALUES ('d-1', 'off', 'e', 't', 's', 1, 'c', '', 'exhausted', 8, now(), now())
        """
    )
    await connection.close()

    lines = (await doctor(tracker))["endpoints"]

    assert [line["verdict"] for line in lines] == ["fail", "warn", "warn"]
    assert "off was switched off" in lines[0]["says"]
    assert "sagahook endpoints enable off" in lines[0]["next"]
    assert lines[1]["says"].startswith("failing fails since")
    assert "hunter2" not in lines[1]["says"]
    assert "1 deliveries of the last day were given up" in lines[2]["says"]


async def test_what_production_must_have_is_asked_for_only_where_it_is_production(tracker: Tracker) -> None:
    usual, production = await doctor(tracker), await doctor(tracker, "--production")

    assert [line["verdict"] for name in ("kafka", "topics") for line in usual[name]] == ["ok", "ok"]
    assert [line["verdict"] for line in production["kafka"]] == ["fail", "warn"]
    assert "1 broker, version 4.1 or newer: too few to lose one" in production["kafka"][0]["says"]
    assert "SAGAHOOK_KAFKA_SECURITY" in production["kafka"][1]["next"]
    [copies] = production["topics"]
    assert (copies["verdict"], "have fewer than 3 copies" in copies["says"]) == ("fail", True)
    assert "the connection is not encrypted" in [line["says"] for line in production["postgresql"]]
    assert "offsets.retention.minutes is 10080" in production["brokers"][-1]["says"]
    assert "brokers" not in usual


async def test_a_group_whose_place_kafka_forgot_is_told_before_a_runner_begins_anew(tracker: Tracker) -> None:
    await tracker.log.write(SagaLog("s-1").started("e-1", "c").completed().written)

    lines = (await doctor(tracker))["readers"]

    [lost] = [line for line in lines if line["verdict"] == "fail"]
    prefix = tracker.settings.topic_prefix
    assert f"Kafka has forgotten how far {prefix}-runner has read {prefix}.saga.commands" in lost["says"]
    assert "kafka-consumer-groups.sh" in lost["next"]
    assert "disaster-recovery.md#offsets-that-are-gone" in lost["next"]


async def test_topics_of_two_numbers_of_partitions_are_a_failure_with_the_way_out(
    kafka_bootstrap: str, topic_prefix: str, database_url: str
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 2, topics=[SAGA_EVENTS])
    await ensure_topics(kafka_bootstrap, topic_prefix, 1, topics=[SAGA_EVENTS.dead_letters])
    words = ["doctor", "--json", "--read-only", "--kafka", kafka_bootstrap, "--prefix", topic_prefix]

    result = await asyncio.to_thread(CliRunner().invoke, app, words, env={"DATABASE_URL": database_url})

    lines = [line for line in told(result.output)["checks"] if line["check"] == "topics"]
    assert [line["verdict"] for line in lines] == ["fail", "fail"]
    assert "are missing" in lines[0]["says"]
    assert "sagahook topics apply" in lines[0]["next"]
    assert "must all have the same number of partitions" in lines[1]["says"]
    assert "another SAGAHOOK_TOPIC_PREFIX" in lines[1]["next"]
