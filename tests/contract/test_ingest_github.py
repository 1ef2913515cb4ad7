"""`POST /api/v1/webhooks/github` as api.md §2 has it, over real HTTP into a real log."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from orjson import dumps

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.domain.sources import scheme_for
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import webhook_task_id
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, deploy, serving, settings_for

PATH = "/api/v1/webhooks/github"
GITHUB = Source(scheme="github", secrets=("the-new-secret", "the-old-secret"))
OPENED = {"action": "opened", "number": 7}


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    await deploy(
        kafka_bootstrap,
        log.prefix,
        TriggerDefinition(source="github", event="pull_request"),
        TriggerDefinition(source="github", event="push"),
    )
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    sources = {"github": GITHUB, "orders": Source()}
    async with serving(settings_for(log.bootstrap, log.prefix, sources=sources)) as served:
        yield served


def signed(
    event: Any, event_type: str = "pull_request", source: Source = GITHUB
) -> tuple[bytes, dict[str, str]]:
    """As GitHub sends it: the body, and headers with a delivery id that no other has."""
    body = event if isinstance(event, bytes) else dumps(event)
    headers = scheme_for("github", source).sign(body, datetime.now(UTC), str(uuid.uuid4()))
    return body, headers | {"X-GitHub-Event": event_type}


async def deliver(ingest: ServedIngest, event: Any, event_type: str = "pull_request") -> Answer:
    body, headers = signed(event, event_type)
    return await ingest.post(PATH, body, headers)


async def test_a_delivery_is_answered_with_its_ids_and_what_becomes_of_it(ingest: ServedIngest) -> None:
    body, headers = signed(OPENED)
    answer = await ingest.post(PATH, body, headers | {"X-Correlation-ID": "flow-1"})
    delivery_id = headers["X-GitHub-Delivery"]
    assert answer.status == 200
    assert answer.headers["X-Correlation-ID"] == "flow-1"
    assert answer.body == {
        "status": "accepted",
        "delivery_id": delivery_id,
        "event_type": "pull_request",
        "correlation_id": "flow-1",
        "event_id": answer.body["event_id"],
        "result": {
            "status": "queued",
            "task_id": webhook_task_id("github", delivery_id),
            "action": "opened",
        },
    }


async def test_it_lies_in_the_log_under_its_delivery_id_and_type(ingest: ServedIngest, log: Log) -> None:
    body, headers = signed(b'{"action" : "opened"}\n')
    answer = await ingest.post(PATH, body, headers)
    record = await log.find(answer.body["event_id"])
    envelope = Envelope.from_headers(record.headers)
    assert record.value == body
    assert (envelope.subject, envelope.extension("webhooksource")) == ("pull_request", "github")
    assert envelope.extension("deliveryid") == headers["X-GitHub-Delivery"]
    assert envelope.extension("recordedonly") == ""


@pytest.mark.parametrize(
    ("event_type", "event", "status", "reason"),
    [
        ("push", {"ref": "refs/heads/main"}, "queued", ""),
        ("push", {"ref": "refs/heads/feature"}, "ignored", "push is recorded only, but for main and master"),
        ("pull_request", {"action": "closed"}, "ignored", "pull_request is recorded only, but for"),
        ("ping", {"zen": "Keep it logically awesome."}, "ignored", "ping is recorded only"),
        ("issues", {"action": "opened"}, "ignored", ""),
    ],
)
async def test_what_the_contract_only_records_or_no_trigger_wants_is_ignored(
    ingest: ServedIngest, log: Log, event_type: str, event: Any, status: str, reason: str
) -> None:
    answer = await deliver(ingest, event, event_type)
    assert (answer.status, answer.body["result"]["status"]) == (200, status)
    assert answer.body["result"]["action"] == event.get("action")
    record = await log.find(answer.body["event_id"])
    assert Envelope.from_headers(record.headers).extension("recordedonly").startswith(reason or "")
    assert bool(Envelope.from_headers(record.headers).extension("recordedonly")) == bool(reason)


async def test_a_replayed_delivery_is_a_conflict_that_names_the_first(ingest: ServedIngest, log: Log) -> None:
    body, headers = signed(OPENED)
    first = await ingest.post(PATH, body, headers)
    before = await log.size()
    again = await ingest.post(PATH, body, headers)
    assert again.status == 409
    assert first.body["event_id"] in again.body["error"]
    assert again.body["correlation_id"] == again.headers["X-Correlation-ID"] == first.body["correlation_id"]
    assert await log.size() == before


async def test_a_delivery_id_with_another_body_is_a_replay_too(ingest: ServedIngest) -> None:
    body, headers = signed(OPENED)
    await ingest.post(PATH, body, headers)
    other, other_headers = signed({"action": "reopened"})
    assert (await ingest.post(PATH, other, headers)).status == 401
    stolen = other_headers | {"X-GitHub-Delivery": headers["X-GitHub-Delivery"]}
    assert (await ingest.post(PATH, other, stolen)).status == 409


async def test_the_same_delivery_at_the_same_instant_is_accepted_once(ingest: ServedIngest, log: Log) -> None:
    body, headers = signed(OPENED)
    before = await log.size()
    answers = await asyncio.gather(*(ingest.post(PATH, body, headers) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert await log.size() == before + 1


async def test_the_generic_route_has_the_same_guard_and_its_own_answers(ingest: ServedIngest) -> None:
    body, headers = signed(OPENED)
    first = await ingest.post("/webhooks/github", body, headers)
    again = await ingest.post("/webhooks/github", body, headers)
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert (await ingest.post(PATH, body, headers)).status == 409


async def test_another_replica_started_later_knows_the_delivery(ingest: ServedIngest, log: Log) -> None:
    body, headers = signed(OPENED)
    await ingest.post(PATH, body, headers)
    settings = settings_for(log.bootstrap, log.prefix, sources={"github": GITHUB})
    async with serving(settings) as other:
        assert (await other.post(PATH, body, headers)).status == 409


async def test_any_of_the_secrets_will_do_and_no_other(ingest: ServedIngest) -> None:
    for secret, status in (("the-old-secret", 200), ("a-stranger-s", 401)):
        body, headers = signed(OPENED, source=Source(scheme="github", secrets=(secret,)))
        assert (await ingest.post(PATH, body, headers)).status == status


def broken(headers: dict[str, str], **changed: str | None) -> dict[str, str]:
    names = {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in (headers | names).items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"X_Hub_Signature_256": None}, 401, "X-Hub-Signature-256"),
        ({"X_Hub_Signature_256": None, "X_Hub_Signature": "sha1=" + "0" * 40}, 401, "SHA-1"),
        ({"X_Hub_Signature_256": "sha256=" + "0" * 64}, 401, "secret"),
        ({"X_Hub_Signature_256": "\xff\xfe"}, 401, "secret"),
        ({"X_GitHub_Event": None}, 400, "X-GitHub-Event"),
        ({"X_GitHub_Delivery": None}, 400, "X-GitHub-Delivery"),
        ({"X_GitHub_Delivery": "a b"}, 400, "delivery id"),
        ({"X_Correlation_ID": "a b"}, 400, "X-Correlation-ID"),
    ],
)
async def test_what_is_not_as_github_sends_it_is_refused_and_leaves_nothing_behind(
    ingest: ServedIngest, log: Log, changed: dict[str, str | None], status: int, said: str
) -> None:
    body, headers = signed(OPENED)
    before = await log.size()
    answer = await ingest.post(PATH, body, broken(headers, **changed))
    assert (answer.status, answer.body["path"]) == (status, PATH)
    assert said in answer.body["error"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert await log.size() == before


async def test_a_signed_body_that_is_no_json_is_refused_and_its_delivery_id_stays_free(
    ingest: ServedIngest,
) -> None:
    body, headers = signed(b'{"action": ')
    assert (await ingest.post(PATH, body, headers)).status == 400
    good, good_headers = signed(OPENED)
    headers = good_headers | {"X-GitHub-Delivery": headers["X-GitHub-Delivery"]}
    assert (await ingest.post(PATH, good, headers)).status == 200


async def test_a_hook_that_sends_forms_is_read_too(ingest: ServedIngest) -> None:
    body, headers = signed(b"payload=%7B%22action%22%3A%22opened%22%7D")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await ingest.post(PATH, body, headers | form)
    assert (answer.status, answer.body["result"]) == (
        200,
        {
            "status": "queued",
            "task_id": webhook_task_id("github", headers["X-GitHub-Delivery"]),
            "action": "opened",
        },
    )


async def test_only_post_is_there(ingest: ServedIngest) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        answer = await ingest.ask(method, PATH)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_without_a_secret_there_is_no_endpoint(log: Log) -> None:
    body, headers = signed(OPENED)
    async with serving(settings_for(log.bootstrap, log.prefix)) as unconfigured:
        answer = await unconfigured.post(PATH, body, headers)
        assert answer.status == 404
        assert "GITHUB_WEBHOOK_SECRET" in answer.body["error"]
