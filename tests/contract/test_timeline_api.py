"""`GET /api/v1/…/timeline` and `sagahook tail`, on real Kafka and PostgreSQL."""

import asyncio
import hashlib
import json
import os
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import saga_event_id
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliverySucceeded
from sagahook_schemas.steps import StepChildRequested, StepCompleted
from sagahook_schemas.topics import NOTIFICATIONS
from tests.tracker_harness import Api, Tracker, open_tracker_of_its_own
from tests.tracker_log import T0, SagaLog, Written, received, routed

KEY = "a reader's key"
KEYS = {"reader": hashlib.sha256(KEY.encode()).hexdigest()}


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs."""
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    async with tracker.api(KEY) as api:
        yield api


class Case:
    """Ids that no other test uses."""

    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        self.event, self.correlation, self.saga = f"e-{unique}", f"c-{unique}", f"s-{unique}"
        self.child, self.delivery = f"child-{unique}", f"d-{unique}"
        self.log = SagaLog(self.saga)

    def asked(self) -> list[Written]:
        return [received(self.event, self.correlation), routed(self.event, self.correlation, self.saga)]

    def started(self, **context: Any) -> SagaLog:
        return self.log.started(self.event, self.correlation, **context)

    def outbound(self, sequence: int, *outcomes: Contract) -> list[Written]:
        return [
            Written(
                NOTIFICATIONS,
                self.delivery,
                Envelope(
                    id=f"{self.delivery}/{number}",
                    source="/sagahook/notifier",
                    type=outcome.ce_type,
                    time=T0,
                    subject="endpoint-1",
                    correlation_id=self.correlation,
                    causation_id=saga_event_id(self.saga, 1, sequence),
                    saga_id=self.saga,
                    run=1,
                ),
                outcome,
            )
            for number, outcome in enumerate(outcomes)
        ]

    def about(self, sequence: int) -> dict[str, Any]:
        return {
            "delivery_id": self.delivery,
            "endpoint_id": "endpoint-1",
            "event_id": saga_event_id(self.saga, 1, sequence),
            "event_type": "task_completed",
            "saga_id": self.saga,
            "correlation_id": self.correlation,
        }


@pytest.fixture
def case() -> Case:
    return Case()


async def told(tracker: Tracker, *records: Written) -> None:
    await tracker.log.write(records)
    await tracker.until_caught_up()


async def timeline(api: Api, path: str, **query: Any) -> Any:
    code, body, _ = await api.get(
        f"/api/v1/{path}", params={name: str(value) for name, value in query.items()}
    )
    assert code == 200, body
    return body


def types(body: Any) -> list[str]:
    return [entry["type"] for entry in body["entries"]]


async def test_a_webhook_is_told_from_its_receipt_to_its_notifications(
    tracker: Tracker, api: Api, case: Case
) -> None:
    case.started(order=42).scheduled("charge").failed_attempt("charge", "Busy").retry("charge", 2)
    case.log.scheduled("charge", attempt=2).add(
        StepCompleted(step="charge", phase="action", attempt=2, result={"paid": True}, duration_ms=310)
    )
    case.log.completed()
    last = len(case.log.written)
    sent = case.outbound(
        last,
        DeliveryAttemptFailed(
            **case.about(last), attempt=1, error="503", status_code=503, next_attempt_at=T0
        ),
        DeliverySucceeded(**case.about(last), attempt=2, status_code=200),
    )
    await told(tracker, *case.asked(), *case.log.written, *sent)
    body = await timeline(api, f"correlations/{case.correlation}/timeline")
    assert types(body) == [
        "webhook.received",
        "webhook.routed",
        "saga.started",
        "step.scheduled",
        "step.failed",
        "step.retry_scheduled",
        "step.scheduled",
        "step.completed",
        "saga.completed",
        "delivery.attempt_failed",
        "delivery.succeeded",
    ]
    assert (body["what"], body["status"], body["final"], body["more"]) == (
        "correlation",
        "completed",
        True,
        False,
    )
    entries = {entry["type"]: entry for entry in body["entries"]}
    assert entries["webhook.routed"]["caused_by"] == [entries["webhook.received"]["id"]]
    assert entries["saga.started"]["payload"]["value"]["context"] == {"order": 42}
    done = entries["step.completed"]
    assert (done["step"], done["attempt"], done["duration_ms"]) == ("charge", 2, 310)
    assert done["payload"]["value"]["result"] == {"paid": True}
    assert entries["step.failed"]["error"] == "Busy"
    assert entries["delivery.succeeded"]["details"]["status_code"] == 200
    [delivery] = body["deliveries"]
    assert (delivery["status"], delivery["attempts"]) == ("delivered", 2)


async def test_the_same_is_found_by_the_id_of_the_event_the_saga_and_the_delivery(
    tracker: Tracker, api: Api, case: Case
) -> None:
    case.started().completed()
    sent = case.outbound(2, DeliverySucceeded(**case.about(2), attempt=1, status_code=200))
    await told(tracker, *case.asked(), *case.log.written, *sent)
    whole = ["webhook.received", "webhook.routed", "saga.started", "saga.completed", "delivery.succeeded"]
    for path in (
        f"webhooks/events/{case.event}/timeline",
        f"sagas/{case.saga}/timeline",
        f"timelines/{case.delivery}",
        f"timelines/{case.correlation}",
    ):
        assert types(await timeline(api, path)) == whole
    number = (await timeline(api, f"timelines/{case.event}"))["entries"][0]["id"].split("/")
    by_number = (int(number[2]) << 16) | int(number[1])
    assert types(await timeline(api, f"webhooks/events/{by_number}/timeline")) == whole


async def test_children_are_told_between_their_parents_steps(tracker: Tracker, api: Api, case: Case) -> None:
    case.started().add(
        StepChildRequested(step="ship", child_id=case.child, name="shipping", version=1, context={})
    )
    case.log.outcome("ship").completed()
    child = SagaLog(case.child).started_with(
        event_id=saga_event_id(case.saga, 1, 2),
        correlation_id=case.correlation,
        parent=ParentStep(saga_id=case.saga, run=1, step="ship"),
    )
    child.completed()
    await told(tracker, *child.written, *case.log.written, *case.asked())
    body = await timeline(api, f"correlations/{case.correlation}/timeline", excerpt=0)
    assert [(entry["type"], entry["saga_id"]) for entry in body["entries"][2:]] == [
        ("saga.started", case.saga),
        ("step.child_requested", case.saga),
        ("saga.started", case.child),
        ("saga.completed", case.child),
        ("step.completed", case.saga),
        ("saga.completed", case.saga),
    ]
    assert {entry["payload"] for entry in body["entries"]} == {None}
    below = next(run for run in body["runs"] if run["saga_id"] == case.child)
    assert below["parent"] == {"saga_id": case.saga, "run": 1, "step": "ship"}


async def test_pages_tell_everything_once_and_the_last_cursor_tells_what_comes_later(
    tracker: Tracker, api: Api, case: Case
) -> None:
    case.started().scheduled("charge")
    await told(tracker, *case.asked(), *case.log.written)
    path, cursor, more = f"correlations/{case.correlation}/timeline", None, True
    seen: list[str] = []
    while more:
        query = {"limit": 1} | ({} if cursor is None else {"cursor": cursor})
        body = await timeline(api, path, **query)
        seen, cursor, more = seen + types(body), body["next_cursor"], body["more"]
    assert seen == ["webhook.received", "webhook.routed", "saga.started", "step.scheduled"]
    assert not (await timeline(api, path, cursor=cursor))["entries"]

    waiting = asyncio.create_task(timeline(api, path, cursor=cursor, wait=20))
    await asyncio.sleep(0.1)
    before = len(case.log.written)
    case.log.outcome("charge").completed()
    await told(tracker, *case.log.written[before:])
    body = await waiting
    assert types(body)[:1] == ["step.completed"]


async def test_secrets_are_not_told(tracker: Tracker, api: Api, case: Case) -> None:
    case.started(card={"token": "tok_123", "holder": "Ada"}).scheduled("charge")
    case.log.failed_attempt("charge", "POST https://u:hunter2@bank.test/pay said 401")
    await told(tracker, *case.asked(), *case.log.written)
    text = json.dumps(await timeline(api, f"correlations/{case.correlation}/timeline"))
    assert "tok_123" not in text
    assert "hunter2" not in text
    assert "Ada" in text


async def test_a_payload_that_is_long_is_cut(tracker: Tracker, api: Api, case: Case) -> None:
    await told(tracker, *case.asked(), *case.started(text="x" * 2_000).written)
    body = await timeline(api, f"correlations/{case.correlation}/timeline", excerpt=100)
    payload = body["entries"][2]["payload"]
    assert payload["size"] > 2_000
    assert (payload["value"], len(payload["excerpt"])) == (None, 100)


async def test_what_nobody_knows_is_404_and_a_wrong_cursor_is_400(api: Api) -> None:
    for path in ("correlations/nobody/timeline", "sagas/nobody/timeline", "timelines/no%00body"):
        code, body, _ = await api.get(f"/api/v1/{path}")
        assert code == 404
        assert "check it" in body["error"]
    code, body, _ = await api.get("/api/v1/timelines/x?cursor=x")
    assert (code, body["error"].startswith("query.cursor: ")) == (400, True)


async def test_a_caller_without_a_key_is_refused(api: Api) -> None:
    code, _, _ = await api.get("/api/v1/timelines/x", headers={"Authorization": "Bearer another"})
    assert code == 403


async def test_an_answer_that_did_not_change_is_not_sent_again(
    tracker: Tracker, api: Api, case: Case
) -> None:
    await told(tracker, *case.asked())
    path = f"/api/v1/correlations/{case.correlation}/timeline"
    async with api.http.get(path) as response:
        known = response.headers["ETag"]
    async with api.http.get(path, headers={"If-None-Match": known}) as response:
        assert response.status == 304


async def tailing(api: Api, *words: str) -> Process:
    told = {"SAGAHOOK_URL": str(api.http._base_url), "SAGAHOOK_KEY": KEY, "COLUMNS": "200"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sagahook.cli.main", "tail", *words),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **told},
    )


async def test_tail_shows_lines_as_they_happen_until_the_end(tracker: Tracker, api: Api, case: Case) -> None:
    case.started().scheduled("charge")
    await told(tracker, *case.asked(), *case.log.written)
    process = await tailing(api, case.correlation)
    assert process.stdout is not None
    seen = b""
    while b"step.scheduled" not in seen:
        seen += await asyncio.wait_for(process.stdout.readline(), 30)
    before = len(case.log.written)
    case.log.outcome("charge").completed()
    await told(tracker, *case.log.written[before:])
    rest, _ = await asyncio.wait_for(process.communicate(), 30)
    lines = (seen + rest).decode().splitlines()
    assert "2026-01-01 UTC" in lines[0]
    assert [line.split()[1] for line in lines[1:-1]] == [
        "webhook.received",
        "webhook.routed",
        "saga.started",
        "step.scheduled",
        "step.completed",
        "saga.completed",
    ]
    assert lines[-1] == "completed: All 1 saga(s) completed successfully"
    assert process.returncode == 0


async def test_tail_tells_by_its_exit_code_how_it_ended(tracker: Tracker, api: Api, case: Case) -> None:
    await told(tracker, *case.asked(), *case.started().declined().written)
    undone = Case()
    await told(tracker, *undone.asked(), *undone.started().scheduled("charge").written)
    code, output = await tail(api, case.saga, "--json")
    *entries, end = map(json.loads, output.splitlines())
    assert entries[0]["type"] == "webhook.received"
    assert (code, end["status"], end["final"]) == (1, "failed", True)
    code, output = await tail(api, undone.saga, "--once")
    assert (code, "not final yet" in output) == (2, True)
    code, output = await tail(api, "nobody")
    assert (code, "Nothing is known by the id" in output) == (2, True)


async def tail(api: Api, *words: str) -> tuple[int, str]:
    """The exit code, and what it said."""
    told = {"SAGAHOOK_URL": str(api.http._base_url), "SAGAHOOK_KEY": KEY}
    result = await asyncio.to_thread(CliRunner().invoke, app, ["tail", *words], env=told)
    return result.exit_code, result.output
