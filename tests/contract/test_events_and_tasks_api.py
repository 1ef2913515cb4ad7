"""Events and tasks (api.md §3) over HTTP, from a log on real Kafka through views in real PostgreSQL."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from multidict import CIMultiDictProxy

from sagahook_schemas.base import JsonValue
from sagahook_schemas.codec import decode
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import webhook_task_id
from sagahook_schemas.topics import WEBHOOKS_COMMANDS
from tests.tracker_harness import Api, Tracker, open_tracker_of_its_own
from tests.tracker_log import SagaLog, Written, deployed, received, routed

OPERATOR, READER = "an operator's key", "a reader's key"
KEYS = {
    "operator": hashlib.sha256(OPERATOR.encode()).hexdigest(),
    "reader": hashlib.sha256(READER.encode()).hexdigest(),
}
EVENTS, TASKS = "/api/v1/webhooks/events", "/api/v1/tasks"

EVENT_FIELDS = {"id", "delivery_id", "event_type", "processed", "created_at", "error_message"}
EVENT_DETAILS = EVENT_FIELDS | {
    "source",
    "payload",
    "headers",
    "processing_started_at",
    "processing_completed_at",
    "retry_count",
    "updated_at",
    "correlation_id",
}
TASK_FIELDS = {
    "id",
    "task_id",
    "task_type",
    "status",
    "repository",
    "pr_number",
    "created_at",
    "completed_at",
    "error_message",
    "codegen_task_url",
}
TASK_DETAILS = TASK_FIELDS | {
    "webhook_event_id",
    "priority",
    "branch",
    "commit_sha",
    "config",
    "input_data",
    "output_data",
    "started_at",
    "retry_count",
    "max_retries",
    "codegen_task_id",
    "updated_at",
    "attributes",
    "executions",
}
EXECUTION = {
    "id",
    "execution_id",
    "status",
    "started_at",
    "completed_at",
    "duration_ms",
    "error_message",
}


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs."""
    order = SagaDefinition(
        name="order",
        version=3,
        triggers=(),
        steps=(StepDefinition(name="reserve", timeout=10, retry=Retry(max=4)),),
    )
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        await tracker.log.write([deployed(order)])
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    """Its caller is an operator."""
    async with tracker.api(OPERATOR) as api:
        yield api


class Story:
    """A webhook of a source of its own, and the saga that it asks for."""

    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        self.source, self.event, self.cid, self.saga = (
            f"{each}-{unique}" for each in ("shop", "e", "c", "s")
        )

    def received(self, **how: Any) -> Written:
        return received(self.event, self.cid, **({"source": self.source} | how))

    def routed(self, *sagas: str, **how: Any) -> Written:
        return routed(self.event, self.cid, *(sagas or (self.saga,)), **how)

    def started(self, **fields: Any) -> SagaLog:
        log = SagaLog(self.saga)
        log.correlation_id = self.cid
        ids = {"event_id": self.event, "correlation_id": self.cid, "source": self.source}
        return log.started_with(**(ids | fields))


@pytest.fixture
def story() -> Story:
    return Story()


async def write(tracker: Tracker, *records: Written) -> None:
    await tracker.log.write(records)
    await tracker.until_caught_up()


async def ask(api: Api, path: str) -> tuple[int, Any, CIMultiDictProxy[str]]:
    async with api.http.get(path) as response:
        return response.status, await response.json(), response.headers


async def get(api: Api, path: str) -> Any:
    code, body, _ = await api.get(path)
    assert code == 200, body
    return body


async def test_an_event_is_listed_with_the_documented_fields(
    tracker: Tracker, api: Api, story: Story
) -> None:
    await write(tracker, story.received(delivery_id="d-1"))
    [body] = await get(api, f"{EVENTS}?source={story.source}")
    assert body.keys() >= EVENT_FIELDS
    assert isinstance(body["id"], int)
    assert {
        key: body[key] for key in ("delivery_id", "event_type", "processed", "created_at", "error_message")
    } == {
        "delivery_id": "d-1",
        "event_type": "order_created",
        "processed": False,
        "created_at": "2026-01-01T00:00:00Z",
        "error_message": None,
    }


async def test_an_event_has_its_body_and_headers(tracker: Tracker, api: Api, story: Story) -> None:
    await write(
        tracker,
        story.received(body=b'{"order": 42}', http_headers=b"user-agent\ncurl\nauthorization\n***"),
        story.routed(),
        *story.started().done("reserve").completed().written,
    )
    body = await get(api, f"{EVENTS}/{story.event}")
    assert body.keys() >= EVENT_DETAILS
    assert (body["payload"], body["payload_encoding"], body["missing"]) == ({"order": 42}, "json", {})
    assert body["headers"] == {"user-agent": "curl", "authorization": "***"}
    assert (body["source"], body["correlation_id"]) == (story.source, story.cid)
    assert (body["processed"], body["retry_count"], body["size"]) == (True, 0, len(b'{"order": 42}'))
    assert body["processing_started_at"] == "2026-01-01T00:00:00Z"
    assert body["processing_completed_at"] == body["updated_at"] == "2026-01-01T00:00:04Z"
    assert body["task_ids"] == [story.saga]
    assert body == await get(api, f"{EVENTS}/{body['id']}")


@pytest.mark.parametrize(
    ("raw", "payload", "encoding"),
    [(b"a=1&b=2", "a=1&b=2", "text"), (b"\xff\x00", "/wA=", "base64"), (b"", "", "text")],
)
async def test_a_body_that_is_no_json_is_shown_as_what_it_is(
    tracker: Tracker, api: Api, story: Story, raw: bytes, payload: str, encoding: str
) -> None:
    await write(tracker, story.received(body=raw))
    body = await get(api, f"{EVENTS}/{story.event}")
    assert (body["payload"], body["payload_encoding"]) == (payload, encoding)


async def test_events_are_found_by_everything_that_is_asked_for(
    tracker: Tracker, api: Api, story: Story
) -> None:
    other = Story()
    await write(
        tracker,
        story.received(event_type="paid", delivery_id=f"d-{story.event}"),
        routed(story.event, story.cid, reason="nobody wants it"),
        received(other.event, other.cid, source=story.source, event_type="paid"),
        other.routed(),
    )

    async def found(query: str) -> list[str]:
        return [each["event_id"] for each in await get(api, f"{EVENTS}?source={story.source}&{query}")]

    assert set(await found("event_type=paid")) == {story.event, other.event}
    assert await found("event_type=unpaid") == []
    assert await found("processed=true") == [story.event]
    assert await found("processed=false&event_type=paid") == [other.event]
    assert await found(f"delivery_id=d-{story.event}") == [story.event]
    assert await found(f"correlation_id={other.cid}") == [other.event]
    assert await found(f"task_id={other.saga}") == [other.event]
    assert await found(f"processed=false&task_id={other.saga}") == [other.event]
    assert await found("received_after=2026-01-01T00:00:00Z") == []
    assert len(await found("received_before=2026-01-01T00:00:01Z")) == 2


@pytest.mark.parametrize("only", ["", "&processed=false"])
async def test_pages_of_events_have_each_of_them_once(
    tracker: Tracker, api: Api, story: Story, only: str
) -> None:
    await write(
        tracker, *(received(f"{story.event}-{n}", f"{story.cid}-{n}", source=story.source) for n in range(7))
    )
    path = f"{EVENTS}?source={story.source}{only}"
    everything = [each["id"] for each in await get(api, path)]
    assert everything == sorted(everything, reverse=True)
    by_offset = [
        each["id"] for offset in (0, 3, 6) for each in await get(api, f"{path}&limit=3&offset={offset}")
    ]
    by_cursor, following = [], f"{path}&limit=3"
    while following:
        code, page, headers = await ask(api, following)
        assert code == 200
        by_cursor += [each["id"] for each in page]
        following = headers.get("link", "").partition(">")[0].removeprefix("<")
        assert ("x-next-cursor" in headers) == bool(following)
    assert len(everything) == 7
    assert by_offset == by_cursor == everything


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "offset=-1",
        "offset=10001",
        "cursor=nonsense",
        "processed=perhaps",
        "event_type=",
        "received_after=yesterday",
    ],
)
@pytest.mark.parametrize("path", [EVENTS])
async def test_a_parameter_that_makes_no_sense_is_400_with_the_documented_body(
    api: Api, path: str, query: str
) -> None:
    code, body, _ = await api.get(f"{path}?{query}")
    assert (code, body["status_code"], body["path"]) == (400, 400, path)
    assert body["error"].startswith(f"query.{query.partition('=')[0]}: ")


async def test_a_failed_event_says_why(tracker: Tracker, api: Api, story: Story) -> None:
    await write(tracker, story.received(), story.routed(), *story.started().declined().written)
    [body] = await get(api, f"{EVENTS}?source={story.source}")
    assert (body["processed"], body["error_message"]) == (True, "Declined: too much")


async def test_an_answer_that_the_caller_has_is_not_sent_again(
    tracker: Tracker, api: Api, story: Story
) -> None:
    await write(tracker, story.received())
    for path in (
        f"{EVENTS}/{story.event}",
        f"{EVENTS}?source={story.source}",
        f"/webhooks/{story.source}/status/{story.cid}",
        f"/api/v1/sagas?source={story.source}",
    ):
        code, _, headers = await ask(api, path)
        assert (code, headers["cache-control"]) == (200, "private, no-cache")
        for known in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
            async with api.http.get(path, headers={"If-None-Match": known}) as response:
                assert (response.status, await response.read()) == (304, b"")
                assert response.headers["ETag"] == headers["etag"]
        assert (await api.get(path, headers={"If-None-Match": '"other"'}))[0] == 200


async def test_reprocessing_is_a_command_in_the_log(tracker: Tracker, api: Api, story: Story) -> None:
    await write(
        tracker, story.received(), story.routed(), *story.started().done("reserve").completed().written
    )
    details = await get(api, f"{EVENTS}/{story.event}")
    for id in (details["id"], story.event):
        code, body, _ = await api.post(f"{EVENTS}/{id}/reprocess", {"actor": "ada", "reason": "once more"})
        assert code == 200
        assert (body["status"], body["task_id"], body["event_id"]) == (
            "reprocessing",
            story.saga,
            story.event,
        )
        [record] = [
            each
            for each in await tracker.commands(WEBHOOKS_COMMANDS)
            if dict(each.headers)["ce_id"].decode() == body["command_id"]
        ]
        envelope, data = decode(record.headers, record.value)
        assert (envelope.correlation_id, envelope.extension("webhooksource")) == (story.cid, story.source)
        assert data.model_dump() == {
            "event_id": story.event,
            "offset": details["id"] >> 16,
            "actor": "ada",
            "reason": "once more",
        }
        assert (record.partition, record.key.decode()) == (details["id"] & 0xFFFF, story.event)


async def test_an_event_that_is_under_way_is_not_reprocessed(
    tracker: Tracker, api: Api, story: Story
) -> None:
    await write(tracker, story.received(), story.routed(), *story.started().written)
    code, body, _ = await api.post(f"{EVENTS}/{story.event}/reprocess", None)
    assert code == 409
    assert "still being processed" in body["error"]


async def test_a_task_is_listed_with_the_documented_fields(tracker: Tracker, api: Api, story: Story) -> None:
    attributes = {"repository": f"team/{story.saga}", "pr_number": 42, "codegen_task_url": "https://…/1"}
    await write(tracker, *story.started(attributes=attributes).done("reserve").completed().written)
    [body] = await get(api, f"{TASKS}?repository=team/{story.saga}")
    assert body.keys() >= TASK_FIELDS
    assert isinstance(body["id"], int)
    assert {key: body[key] for key in TASK_FIELDS - {"id"}} == {
        "task_id": story.saga,
        "task_type": "order",
        "status": "completed",
        "repository": f"team/{story.saga}",
        "pr_number": 42,
        "created_at": "2026-01-01T00:00:01Z",
        "completed_at": "2026-01-01T00:00:04Z",
        "error_message": None,
        "codegen_task_url": "https://…/1",
    }


async def test_what_only_the_result_of_a_task_tells_of_an_agent_is_shown_like_an_attribute(
    tracker: Tracker, api: Api, story: Story
) -> None:
    result: JsonValue = {"codegen_task_id": 7, "codegen_task_url": "https://…/7"}
    log = story.started(attributes={"repository": f"team/{story.saga}"}).done("reserve").completed(result)
    await write(tracker, *log.written)
    [listed] = await get(api, f"{TASKS}?repository=team/{story.saga}")
    body = await get(api, f"{TASKS}/{story.saga}")
    assert (listed["codegen_task_url"], body["codegen_task_url"]) == ("https://…/7", "https://…/7")
    assert body["codegen_task_id"] == "7"


async def test_a_task_has_its_input_its_event_and_each_attempt(
    tracker: Tracker, api: Api, story: Story
) -> None:
    log = story.started(
        context={"order": 1, "config": {"deep": True}},
        attributes={"branch": "main", "commit_sha": "abc", "priority": "high", "codegen_task_id": 7},
    )
    log.scheduled("reserve").failed_attempt("reserve", "Busy: later").retry("reserve", 2).scheduled(
        "reserve", 2
    )
    await write(tracker, story.received(), story.routed(), *log.written)
    body = await get(api, f"{TASKS}/{story.saga}")
    assert body.keys() >= TASK_DETAILS
    assert body["webhook_event_id"] == (await get(api, f"{EVENTS}/{story.event}"))["id"]
    assert (body["status"], body["retry_count"], body["max_retries"]) == ("running", 1, 4)
    assert (body["input_data"], body["config"]) == ({"order": 1, "config": {"deep": True}}, {"deep": True})
    assert (body["branch"], body["commit_sha"], body["priority"]) == ("main", "abc", "high")
    assert body["codegen_task_id"] == "7"
    assert all(each.keys() >= EXECUTION for each in body["executions"])
    assert [(each["attempt"], each["status"], each["error_message"]) for each in body["executions"]] == [
        (1, "failed", "Busy: later"),
        (2, "running", None),
    ]
    assert body["executions"][0]["execution_id"] == f"{story.saga}/1/reserve/action/1"


async def test_tasks_are_found_by_everything_that_is_asked_for(
    tracker: Tracker, api: Api, story: Story
) -> None:
    attributes = {"order": story.saga, "urgent": True}
    await write(
        tracker, story.received(), story.routed(), *story.started(attributes=attributes).declined().written
    )

    async def found(query: str) -> list[str]:
        return [each["task_id"] for each in await get(api, f"{TASKS}?{query}")]

    assert await found(f"correlation_id={story.cid}") == [story.saga]
    assert await found(f"event_id={story.event}") == [story.saga]
    assert await found(f"attribute=order:{story.saga}&attribute=urgent:true") == [story.saga]
    assert await found(f"attribute=order:{story.saga}&attribute=urgent:false") == []
    assert await found(f"attribute=order:{story.saga}") == [story.saga]
    assert await found(f"attribute=order:{story.saga}&attribute=order:other") == []
    assert await found(f"attribute=order:other&repository={story.saga}") == []
    assert await found(f"attribute=order:{story.saga}&status=failed&event_id={story.event}") == [story.saga]
    assert await found(f"attribute=order:{story.saga}&status=completed") == []
    assert story.saga in await found("status=failed&task_type=order")
    assert story.saga not in await found("status=completed")
    assert await found(f"correlation_id={story.cid}&status=running") == []


async def test_a_task_that_was_run_again_is_listed_by_its_newest_run(
    tracker: Tracker, api: Api, story: Story
) -> None:
    first = SagaLog(story.saga).started(story.event, story.cid).declined()
    again = SagaLog(story.saga, run=2).started(story.event, story.cid).scheduled("reserve")
    await write(tracker, story.received(), *first.written, *again.written)
    for query, found in (("", ["running"]), ("&status=running", ["running"]), ("&status=failed", [])):
        tasks = await get(api, f"{TASKS}?event_id={story.event}{query}")
        assert [task["status"] for task in tasks] == found


@pytest.mark.parametrize("filter_", ["correlation_id", "repository"])
async def test_pages_of_tasks_have_each_of_them_once(
    tracker: Tracker, api: Api, story: Story, filter_: str
) -> None:
    about = {"event_id": story.event, "correlation_id": story.cid, "attributes": {"repository": story.cid}}
    logs = [SagaLog(f"{story.saga}-{n}").started_with(**about) for n in range(5)]
    await write(tracker, *(record for log in logs for record in log.written))
    path = f"{TASKS}?{filter_}={story.cid}&limit=2"
    by_offset = [each["task_id"] for at in (0, 2, 4) for each in await get(api, f"{path}&offset={at}")]
    by_cursor: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        _, page, headers = await ask(api, path + cursor)
        by_cursor += [each["task_id"] for each in page]
        cursor = f"&cursor={headers['x-next-cursor']}" if "x-next-cursor" in headers else None
    assert by_offset == by_cursor
    assert set(by_cursor) == {log.saga_id for log in logs}


async def test_the_task_id_of_a_delivery_stands_for_the_sagas_of_its_event(
    tracker: Tracker, api: Api, story: Story
) -> None:
    """As GitHub's endpoint answers it: before anybody knows which sagas there will be."""
    task_id = webhook_task_id(story.source, "d-7")
    await write(tracker, story.received(delivery_id="d-7"))
    for path in (f"{TASKS}/{task_id}", f"/api/v1/status/{task_id}", f"{TASKS}/{story.event}"):
        body = await get(api, path)
        assert (body["status"], body["task_ids"]) == ("pending", [])
    await write(tracker, story.routed())
    body = await get(api, f"{TASKS}/{task_id}")
    assert body.keys() >= TASK_DETAILS
    assert (body["status"], body["task_id"], body["task_type"]) == ("running", story.saga, "order")
    await write(tracker, *story.started().declined().written)
    body = await get(api, f"{TASKS}/{task_id}")
    assert (body["status"], body["task_id"]) == ("failed", story.saga)
    assert (await get(api, f"/api/v1/status/{task_id}"))["status"] == "failed"
    assert (await get(api, f"/api/v1/status/{task_id}/history"))["event_count"] == 0  # it is of another year
    assert (await get(api, f"/api/v1/status/{task_id}/history?hours=8760"))["event_count"] > 0
    code, retried, _ = await api.post(f"{TASKS}/{task_id}/retry", None)
    assert (code, retried["task_id"]) == (200, story.saga)


async def test_what_no_trigger_wanted_is_a_completed_task_that_says_why(
    tracker: Tracker, api: Api, story: Story
) -> None:
    ignored = routed(story.event, story.cid, reason="nobody wants it")
    await write(tracker, story.received(delivery_id="d-8"), ignored)
    body = await get(api, f"{TASKS}/{webhook_task_id(story.source, 'd-8')}")
    assert (body["status"], body["message"], body["task_ids"]) == ("completed", "nobody wants it", [])


async def test_a_saga_that_was_asked_for_is_known_before_it_starts(
    tracker: Tracker, api: Api, story: Story
) -> None:
    await write(tracker, story.received(), story.routed())
    body = await get(api, f"{TASKS}/{story.saga}")
    assert (body["status"], body["task_type"], body["id"], body["executions"]) == (
        "pending",
        "order",
        None,
        [],
    )
    assert (await get(api, f"/api/v1/status/{story.saga}"))["progress"] == 0


async def test_a_failed_task_is_retried_by_a_command(tracker: Tracker, api: Api, story: Story) -> None:
    await write(tracker, story.received(), story.routed(), *story.started().declined().written)
    code, body, _ = await api.post(f"{TASKS}/{story.saga}/retry", {"actor": "ada"})
    assert code == 200
    assert body == {
        "status": "retrying",
        "task_id": story.saga,
        "execution_id": body["execution_id"],
        "celery_task_id": body["execution_id"],
    }
    [record] = [
        each
        for each in await tracker.commands()
        if dict(each.headers)["ce_id"].decode() == body["execution_id"]
    ]
    envelope, data = decode(record.headers, record.value)
    assert (envelope.type, envelope.saga_id) == ("sagahook.command.retry.v1", story.saga)
    assert data.model_dump() == {"actor": "ada", "reason": ""}


@pytest.mark.parametrize(
    "ended", [lambda log: log, lambda log: log.completed(), lambda log: log.suspended("lost")]
)
async def test_a_task_that_has_not_failed_is_not_retried(
    tracker: Tracker, api: Api, story: Story, ended: Any
) -> None:
    await write(tracker, story.received(), story.routed(), *ended(story.started()).written)
    code, body, _ = await api.post(f"{TASKS}/{story.saga}/retry", None)
    assert (code, body["status_code"]) == (409, 409)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{EVENTS}/never-heard-of"),
        ("GET", f"{EVENTS}/123456789012"),
        ("GET", f"{EVENTS}/99999999999999999999"),
        ("GET", f"{EVENTS}/%00"),
        ("POST", f"{EVENTS}/never-heard-of/reprocess"),
        ("GET", f"{TASKS}/never-heard-of"),
        ("GET", f"{TASKS}/%00"),
        ("POST", f"{TASKS}/never-heard-of/retry"),
        ("GET", "/api/v1/status/never-heard-of"),
        ("GET", "/api/v1/status/never-heard-of/history"),
        ("GET", "/api/v1/stream?task_id=never-heard-of"),
    ],
)
async def test_an_unknown_id_is_404_with_the_documented_body(api: Api, method: str, path: str) -> None:
    async with api.http.request(method, path) as response:
        body = await response.json()
        assert response.status == 404, body
        assert body.keys() >= {"error", "status_code", "path", "correlation_id"}


@pytest.mark.parametrize(
    ("key", "code"),
    [("", 401), ("wrong", 403), (READER, 403)],
)
@pytest.mark.parametrize("path", [f"{EVENTS}/x/reprocess", f"{TASKS}/x/retry"])
async def test_only_an_operator_reprocesses_and_retries(api: Api, path: str, key: str, code: int) -> None:
    headers = {"Authorization": f"Bearer {key}" if key else ""}
    assert (await api.post(path, None, headers=headers))[0] == code
