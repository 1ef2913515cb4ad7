"""`GET /api/v1/stuck`, `/api/v1/dead-letters`, their metrics and `sagahook doctor`, on real Kafka and PostgreSQL."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS
from tests.tracker_harness import Api, Tracker, open_tracker
from tests.tracker_log import SagaLog, controlled, deployed, received, routed

KEY = "a reader's key"
KEYS = {"reader": hashlib.sha256(KEY.encode()).hexdigest()}
ORDER = SagaDefinition(
    name="order",
    version=3,
    triggers=(),
    steps=(
        StepDefinition(
            name="reserve",
            timeout=10,
            retry=Retry(),
            compensation=CompensationDefinition(timeout=10, retry=Retry()),
        ),
        StepDefinition(name="charge", timeout=10, retry=Retry()),
    ),
)


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with (
        open_tracker(kafka_bootstrap, topic_prefix, database_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        await tracker.log.write([deployed(ORDER)])
        yield tracker


@pytest_asyncio.fixture
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    async with tracker.api(KEY) as api:
        yield api


def left_behind(saga_id: str) -> SagaLog:
    log = SagaLog(saga_id).started("e-1", "c").done("reserve").scheduled("charge")
    log.failed_attempt("charge", "No").compensating("charge", "No", "reserve")
    log.scheduled("reserve", phase="compensation").failed_attempt("reserve", "Gone", phase="compensation")
    return log.failed("charge", "No", "reserve")


async def told(tracker: Tracker, *logs: SagaLog) -> None:
    await tracker.log.write([written for log in logs for written in log.written])
    await tracker.until_caught_up()


async def bury(tracker: Tracker, offset: int = 7, **headers: str) -> None:
    """A command that its consumer did not take."""
    told = {"ce_type": "sagahook.command.cancel.v1", "dlqreason": "password=hunter2 did not fit"} | headers
    told |= {"dlqtopic": tracker.settings.topic(SAGA_COMMANDS), "dlqpartition": "1", "dlqoffset": str(offset)}
    async with AIOKafkaProducer(bootstrap_servers=tracker.settings.kafka) as producer:
        await producer.send_and_wait(
            tracker.settings.topic(SAGA_COMMANDS.dead_letters),
            key=b"s-1",
            value=b'{"actor": "ada", "token": "t-1"}',
            headers=[(name, value.encode()) for name, value in told.items()],
            partition=1,
        )


async def test_each_saga_that_does_not_go_on_says_why_and_what_to_do(tracker: Tracker, api: Api) -> None:
    await told(
        tracker,
        left_behind("s-failed"),
        SagaLog("s-suspended").started("e-2", "c").suspended("nothing carries it on"),
        SagaLog("s-overdue").started("e-3", "c").scheduled("charge"),
        SagaLog("s-held").started_with(held=1),
        SagaLog("s-well").started("e-4", "c").completed(),
        SagaLog("s-undone").started("e-5", "c").declined(),
    )
    await tracker.log.write([controlled("definition", "order", paused=True), received("e-9", "c-9")])
    await tracker.until_caught_up()
    code, body, _ = await api.get("/api/v1/stuck")
    assert code == 200
    assert [(each["kind"], each["saga_id"], each["next"]["command"]) for each in body["sagas"]] == [
        ("failed", "s-failed", "sagahook sagas resolve s-failed --step reserve --how retry"),
        ("suspended", "s-suspended", "sagahook sagas retry s-suspended"),
        ("overdue", "s-overdue", "sagahook doctor"),
        ("held", "s-held", "sagahook definitions resume order"),
    ]
    counts = body["counts"]
    assert [counts[kind] for kind in ("failed", "suspended", "overdue", "held")] == [1, 1, 1, 1]
    assert (counts["dead_letters"], counts["projection_lag"]) == (0, 0)
    assert counts["oldest_unprocessed_seconds"] > 0
    assert [each["event_id"] for each in body["oldest_webhooks"]] == ["e-9"]
    code, body, _ = await api.get("/api/v1/stuck?kind=held&kind=failed&limit=1")
    assert [each["kind"] for each in body["sagas"]] == ["failed", "held"]
    assert (await api.get("/api/v1/stuck?kind=tired"))[0] == 400


async def test_a_run_that_was_retried_since_is_not_stuck(tracker: Tracker, api: Api) -> None:
    again = SagaLog("s-failed", run=2).started("e-1", "c").completed()
    await told(tracker, left_behind("s-failed"), again)
    _, body, _ = await api.get("/api/v1/stuck")
    assert (body["sagas"], body["counts"]["failed"]) == ([], 0)


async def test_what_waits_for_its_time_is_not_overdue(tracker: Tracker, api: Api) -> None:
    from sagahook_schemas.steps import StepSleeping

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    sleeps = SagaLog("s-1").started("e-1", "c").add(StepSleeping(step="charge", due_at=tomorrow))
    await told(tracker, sleeps, SagaLog("s-2").started("e-2", "c").awaiting("charge", "approval"))
    _, body, _ = await api.get("/api/v1/stuck")
    assert body["sagas"] == []


async def test_a_saga_that_a_pause_holds_says_so_in_its_status(tracker: Tracker, api: Api) -> None:
    await told(
        tracker, SagaLog("s-1").started_with(held=1), SagaLog("s-2").started_with(limit_key="limit/order")
    )
    await tracker.log.write([controlled("source", "shop", paused=True)])
    await tracker.until_caught_up()
    assert (await api.get("/webhooks/status/s-1"))[1]["held"] == "source shop"
    assert (await api.get("/webhooks/status/s-2"))[1]["held"] is None


async def test_dead_letters_are_counted_and_told_without_secrets(tracker: Tracker, api: Api) -> None:
    await bury(tracker, 7, dlqconsumer="owners")
    await bury(tracker, 8)
    _, body, _ = await api.get("/api/v1/dead-letters")
    first = body["topics"][0]
    assert (first["topic"], first["of"], first["count"], first["exact"]) == (
        "saga.commands.dlq",
        "saga.commands",
        2,
        True,
    )
    _, body, _ = await api.get("/api/v1/dead-letters/saga.commands.dlq?limit=1")
    [letter] = body["letters"]
    assert (letter["reason"], letter["consumer"]) == ("password=*** did not fit", "owners")
    assert letter["value"] == {"actor": "ada", "token": "***"}
    assert letter["source"].endswith(".saga.commands/1/7")
    _, body, _ = await api.get(f"/api/v1/dead-letters/saga.commands.dlq?cursor={body['next_cursor']}")
    assert [each["offset"] for each in body["letters"]] == [1]
    assert (await api.get("/api/v1/dead-letters/saga.commands"))[0] == 404
    assert (await api.get("/api/v1/dead-letters/saga.commands.dlq?cursor=x"))[0] == 400


async def test_the_metrics_tell_what_does_not_go_on(tracker: Tracker, api: Api) -> None:
    await bury(tracker)
    undoing = SagaLog("s-undoing").started("e-2", "c").done("reserve").compensating("charge", "No", "reserve")
    await tracker.log.write([received("e-9", "c-9")])
    await told(tracker, left_behind("s-failed"), undoing.scheduled("reserve", phase="compensation"))
    await api.get("/api/v1/stuck")
    async with api.http.get("/metrics") as response:
        text = await response.text()
    told_by = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }
    assert told_by['sagahook_stuck_sagas{kind="failed"}'] == 1
    assert (
        told_by['sagahook_stuck_sagas{kind="overdue"}']
        == told_by['sagahook_stuck_sagas{kind="undoing"}']
        == 1
    )
    assert told_by["sagahook_oldest_unrouted_seconds"] > 0
    assert told_by['sagahook_dead_letters{topic="saga.commands"}'] == 1
    assert told_by["sagahook_projection_lag_records"] == 0


async def command(tracker: Tracker, *words: str, **environment: str) -> tuple[int, str]:
    """The exit code, and what it said."""
    settings = {
        "SAGAHOOK_KAFKA": tracker.settings.kafka,
        "SAGAHOOK_TOPIC_PREFIX": tracker.settings.topic_prefix,
        "DATABASE_URL": tracker.settings.database_url.get_secret_value(),
        "COLUMNS": "200",
    }
    # Its own event loop runs in a thread of its own.
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env=settings | environment)
    return result.exit_code, result.output


async def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(tracker: Tracker, api: Api) -> None:
    await bury(tracker)
    await told(tracker, left_behind("s-failed"))
    name = tracker.settings.topic(SAGA_EVENTS)
    admin = AIOKafkaAdminClient(bootstrap_servers=tracker.settings.kafka)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "1000"})])
    await admin.close()
    await tracker.pool.execute("DROP SCHEMA notifier CASCADE")
    code, output = await command(tracker, "doctor", "--json", "--url", str(api.http._base_url))
    report = json.loads(output)
    checks: dict[str, list[Any]] = {}
    for each in report["checks"]:
        checks.setdefault(each["check"], []).append(each)
    assert (code, report["verdict"]) == (1, "fail"), output
    [kept] = [each for each in checks["topic settings"] if each["verdict"] == "fail"]
    assert f"{name}: " in kept["says"]
    assert "retention.ms is 1000, not -1" in kept["says"]
    assert kept["next"].startswith("sagahook topics apply --kafka ")
    [stuck] = checks["stuck sagas"]
    assert "sagahook sagas resolve s-failed --step reserve" in stuck["next"]
    assert "sagahook dlq show saga.commands.dlq" in checks["dead letters"][0]["next"]
    assert [each["verdict"] for each in checks["migrations"]] == ["ok", "fail"]
    assert checks["migrations"][1]["next"] == "sagahook-notifier migrate"
    for name in ("kafka", "topics", "transactions", "broker clock", "postgresql", "database clock", "views"):
        assert [each["verdict"] for each in checks[name]] == ["ok"], checks[name]
    assert checks["definitions"][0]["says"] == "1 sagas are deployed, in 1 versions; none waits for another"
    topics = await topics_of(tracker)
    assert not [topic for topic in topics if "doctor" in topic]


async def topics_of(tracker: Tracker) -> set[str]:
    async with AIOKafkaConsumer(bootstrap_servers=tracker.settings.kafka) as consumer:
        found: set[str] = await consumer.topics()
        return found


async def test_the_doctor_says_where_nothing_answers_and_tells_no_password(tracker: Tracker) -> None:
    code, output = await command(
        tracker,
        "doctor",
        SAGAHOOK_KAFKA="127.0.0.1:1",
        DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/x",
    )
    assert code == 1
    assert "hunter2" not in output
    assert "fail kafka             127.0.0.1:1 does not answer" in output
    assert "fail postgresql        127.0.0.1:1/x does not answer" in output
    assert "→ start it, or set SAGAHOOK_KAFKA" in output


async def test_a_route_whose_webhook_waits_is_not_among_the_oldest_once_it_is_final(
    tracker: Tracker, api: Api
) -> None:
    await tracker.log.write([received("e-1", "c-1"), routed("e-1", "c-1", reason="no trigger")])
    await tracker.until_caught_up()
    _, body, _ = await api.get("/api/v1/stuck")
    assert body["oldest_webhooks"] == []
    assert body["counts"]["oldest_unprocessed_seconds"] is None
