"""The operator routes of api.md §5 and the lists and diagrams beside them, over HTTP, on real Kafka and PostgreSQL."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from sagahook_schemas.codec import decode
from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import partition_of
from tests.tracker_harness import PARTITIONS, Api, Tracker, open_tracker_of_its_own
from tests.tracker_log import SagaLog, Written, deployed

OPERATOR, READER = "an operator's key", "a reader's key"
KEYS = {
    "operator": hashlib.sha256(OPERATOR.encode()).hexdigest(),
    "reader": hashlib.sha256(READER.encode()).hexdigest(),
}
BY = {"actor": "ada", "reason": "the bank is back"}
UNDO = CompensationDefinition(timeout=10, retry=Retry())

ORDER = SagaDefinition(
    name="order",
    version=3,
    triggers=(),
    steps=(
        StepDefinition(name="reserve", timeout=10, retry=Retry(), compensation=UNDO),
        StepDefinition(name="charge", timeout=10, retry=Retry(), pivot=True),
        StepDefinition(name="ship", timeout=10, retry=Retry()),
    ),
)


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs, and `order` is deployed."""
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        await tracker.log.write([deployed(ORDER)])
        await tracker.until_caught_up()
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    """Its caller is an operator."""
    async with tracker.api(OPERATOR) as api:
        yield api


@pytest.fixture
def log() -> SagaLog:
    """One that has just started."""
    unique = uuid.uuid4().hex[:8]
    return SagaLog(f"s-{unique}").started(f"e-{unique}", f"c-{unique}", order=42)


def stuck(log: SagaLog) -> SagaLog:
    """FAILED: the compensation of `reserve` failed for good."""
    log.done("reserve").scheduled("charge").failed_attempt("charge", "Declined")
    log.compensating("charge", "Declined", "reserve").scheduled("reserve", phase="compensation")
    return log.failed_attempt("reserve", "Gone", phase="compensation").failed("charge", "Declined", "reserve")


async def asked(
    tracker: Tracker, api: Api, log: SagaLog, path: str, body: Any = BY
) -> tuple[int, Any, dict[str, str]]:
    """The answer, where the log is as given; the path is behind the saga's."""
    await tracker.log.write(log.written)
    await tracker.until_caught_up()
    return await api.post(f"/api/v1/sagas/{log.saga_id}{path}", body)


async def command(tracker: Tracker, command_id: str) -> ConsumerRecord:
    [record] = [
        each for each in await tracker.commands() if dict(each.headers)["ce_id"] == command_id.encode()
    ]
    return record


async def test_a_command_is_in_the_log_when_it_is_accepted(tracker: Tracker, api: Api, log: SagaLog) -> None:
    code, body, _ = await asked(tracker, api, log.done("reserve"), ":cancel")
    assert (code, body.keys(), body["saga_id"]) == (202, {"command_id", "saga_id"}, log.saga_id)
    record = await command(tracker, body["command_id"])
    assert record.key == log.saga_id.encode()
    assert record.partition == partition_of(log.saga_id, PARTITIONS)
    envelope, data = decode(record.headers, record.value)
    assert (envelope.source, envelope.type) == ("/sagahook/tracker", "sagahook.command.cancel.v1")
    assert (envelope.saga_id, envelope.run, envelope.correlation_id) == (log.saga_id, 1, log.correlation_id)
    assert data.model_dump() == BY


@pytest.mark.parametrize(
    "story",
    [lambda log: log.declined(), lambda log: log.suspended("nothing carries it on"), stuck],
)
async def test_what_has_stopped_is_retried(tracker: Tracker, api: Api, log: SagaLog, story: Any) -> None:
    code, body, _ = await asked(tracker, api, story(log), ":retry")
    assert code == 202
    envelope, data = decode(*_of(await command(tracker, body["command_id"])))
    assert (envelope.type, data.model_dump()) == ("sagahook.command.retry.v1", BY)


async def test_a_signal_has_its_payload_and_an_id(tracker: Tracker, api: Api, log: SagaLog) -> None:
    payload = {"by": "the boss"}
    first = await asked(tracker, api, log, ":signal/approval", BY | {"payload": payload, "signal_id": "m-1"})
    second = await asked(tracker, api, SagaLog(log.saga_id), ":signal/approval", {"actor": "ada"})
    assert (first[0], second[0]) == (202, 202)
    _, data = decode(*_of(await command(tracker, first[1]["command_id"])))
    assert data.model_dump() == BY | {"signal": "approval", "signal_id": "m-1", "payload": payload}
    _, data = decode(*_of(await command(tracker, second[1]["command_id"])))
    assert data.model_dump()["signal_id"] == second[1]["command_id"]


async def test_a_run_is_migrated(tracker: Tracker, api: Api, log: SagaLog) -> None:
    code, body, _ = await asked(tracker, api, log, ":migrate", BY | {"version": 4})
    assert code == 202
    _, data = decode(*_of(await command(tracker, body["command_id"])))
    assert data.model_dump() == BY | {"version": 4}


@pytest.mark.parametrize("how", ["retry", "skip", "resolve"])
async def test_a_compensation_that_failed_is_decided_about(
    tracker: Tracker, api: Api, log: SagaLog, how: str
) -> None:
    code, body, _ = await asked(tracker, api, stuck(log), f"/compensations/reserve:{how}")
    assert code == 202
    _, data = decode(*_of(await command(tracker, body["command_id"])))
    assert data.model_dump() == BY | {"step": "reserve", "how": how}


def _of(record: ConsumerRecord) -> tuple[Any, bytes]:
    return record.headers, record.value


@pytest.mark.parametrize(
    ("path", "story", "why"),
    [
        (":cancel", lambda log: log.completed(), "is COMPLETED, and final"),
        (":cancel", lambda log: log.done("reserve", "charge"), "past its pivot 'charge'"),
        (":cancel", lambda log: log.compensating("charge", "Declined"), "being undone already"),
        (":retry", lambda log: log, "is EXECUTING: only one that is suspended"),
        (":retry", lambda log: log.completed(), "is COMPLETED: only one that is suspended"),
        (":signal/approval", lambda log: log.completed(), "is COMPLETED, and final"),
        (":migrate", lambda log: log.completed(), "is COMPLETED, and final"),
        ("/compensations/reserve:retry", lambda log: log, "is EXECUTING: compensations are resolved once"),
        ("/compensations/ship:skip", stuck, "those that have: reserve"),
    ],
)
async def test_what_makes_no_sense_is_409_and_writes_nothing(
    tracker: Tracker, api: Api, log: SagaLog, path: str, story: Any, why: str
) -> None:
    body = BY | {"version": 4} if path == ":migrate" else BY
    code, answer, _ = await asked(tracker, api, story(log), path, body)
    assert code == 409
    assert why in answer["error"]
    assert log.saga_id.encode() not in {record.key for record in await tracker.commands()}


async def test_an_unknown_saga_is_404(tracker: Tracker, api: Api) -> None:
    await tracker.until_caught_up()
    for saga_id in ("never-heard-of", "%00"):
        code, body, _ = await api.post(f"/api/v1/sagas/{saga_id}:cancel", BY)
        assert (code, body.keys()) == (404, {"error", "status_code", "path", "correlation_id"})


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (":cancel", {}, "body.actor"),
        (":cancel", {"actor": ""}, "body.actor"),
        (":cancel", {"actor": "ada\n"}, "body.actor"),
        (":cancel", {"actor": "ada", "reason": "\x1b[2J"}, "body.reason"),
        (":cancel", {"actor": "ada", "why": "?"}, "body.why"),
        (":signal/appro%0Aval", BY, "path.name"),
        (":signal/approval", BY | {"signal_id": "\x00"}, "body.signal_id"),
        (":migrate", BY, "body.version"),
        (":migrate", BY | {"version": 0}, "body.version"),
        ("/compensations/reserve:undo", BY, "path.how"),
    ],
)
async def test_a_malformed_request_is_400_and_names_what(api: Api, path: str, body: Any, named: str) -> None:
    code, answer, _ = await api.post(f"/api/v1/sagas/s-1{path}", body)
    assert (code, answer["error"].partition(":")[0]) == (400, named)


async def test_a_payload_that_the_log_would_not_hold_is_413(api: Api) -> None:
    body = BY | {"payload": "x" * (256 * 1024)}
    code, answer, _ = await api.post("/api/v1/sagas/s-1:signal/approval", body)
    assert (code, answer["error"].startswith("body.payload: too_large")) == (413, True)


@pytest.mark.parametrize("key", [READER, "unheard of"])
async def test_an_unknown_key_and_a_lesser_one_look_alike(api: Api, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    for path in ("/s-1:cancel", "/s-1:retry", "/s-1:signal/a", "/s-1:migrate", ":bulk"):
        code, body, _ = await api.post(f"/api/v1/sagas{path}", BY, headers=headers)
        assert (code, body["error"]) == (
            403,
            "This API key may not do that: a key of the role operator is needed",
        )


async def test_no_key_is_401(tracker: Tracker) -> None:
    async with tracker.api() as anybody:
        assert (await anybody.post("/api/v1/sagas/s-1:cancel", BY))[0] == 401
        assert (await anybody.get("/api/v1/sagas"))[0] == 401


async def test_where_no_key_is_configured_nobody_operates(tracker: Tracker) -> None:
    async with tracker.told_otherwise(api_keys={}).api() as api:
        for code, body, _ in (
            await api.post("/api/v1/sagas/s-1:cancel", BY, headers={"Authorization": "Bearer x"}),
            await api.get("/api/v1/sagas"),
        ):
            assert (code, "set SAGAHOOK_API_KEYS" in body["error"]) == (403, True)


async def test_every_act_and_every_refusal_is_told_to_the_auditor(
    tracker: Tracker, api: Api, log: SagaLog, capsys: pytest.CaptureFixture[str]
) -> None:
    import structlog

    with structlog.testing.capture_logs() as told:
        secret = {"payload": "a secret"}
        _, body, _ = await asked(tracker, api, log, ":signal/approval", BY | secret)
        await asked(tracker, api, SagaLog(log.saga_id), ":retry")
    accepted, refused = [each for each in told if each["event"] == "operator.act"]
    assert (accepted["action"], accepted["outcome"], accepted["actor"]) == ("signal", "accepted", "ada")
    assert accepted["command_id"] == body["command_id"]
    assert (refused["action"], refused["outcome"], refused["saga_id"]) == ("retry", "refused", log.saga_id)
    assert "a secret" not in repr(told)


def named(name: str, *logs: SagaLog) -> list[Written]:
    """The logs' records, under a name that no other test's sagas have."""
    renamed = []
    for log in logs:
        other = SagaLog(log.saga_id).started_with(name=name, attributes={"pr": 7, "repo": "a/b"})
        for record in log.written[1:]:
            assert record.data is not None
            given = {"name": name} if "name" in type(record.data).model_fields else {}
            other.add(record.data.model_copy(update=given))
        renamed += other.written
    return renamed


async def test_a_bulk_act_is_previewed_and_then_confirmed(tracker: Tracker, api: Api) -> None:
    name = f"bulk-{uuid.uuid4().hex[:8]}"
    logs = [SagaLog(f"{name}-{number}").started("e", "c", order=1) for number in range(4)]
    logs[0].completed()
    await tracker.log.write(named(name, *logs))
    await tracker.until_caught_up()
    asks = BY | {"action": "cancel", "filter": {"name": name}}
    code, preview, _ = await api.post("/api/v1/sagas:bulk", asks)
    assert (code, preview["count"], preview["bulk_id"]) == (200, 3, None)
    assert set(preview["sample"]) == {log.saga_id for log in logs[1:]}

    await tracker.log.write(named(name, logs[1].completed())[2:])  # one of them ends meanwhile
    await tracker.log.write(named(name, logs[1])[1:])
    await tracker.until_caught_up()
    code, body, _ = await api.post("/api/v1/sagas:bulk", asks | {"confirm": 3})
    assert (code, "reach 2 sagas" in body["error"]) == (409, True)

    code, done, _ = await api.post("/api/v1/sagas:bulk", asks | {"confirm": 2})
    assert (code, done["count"]) == (202, 2)
    told = {
        record.key.decode(): dict(record.headers)["ce_id"].decode()
        for record in await tracker.commands()
        if record.key.decode().startswith(name)
    }
    assert set(told) == {logs[2].saga_id, logs[3].saga_id}
    assert all(command_id.startswith(f"{done['bulk_id']}/") for command_id in told.values())


async def test_a_bulk_act_on_compensations_reaches_each_that_is_unresolved(
    tracker: Tracker, api: Api
) -> None:
    name = f"bulk-{uuid.uuid4().hex[:8]}"
    await tracker.log.write(named(name, stuck(SagaLog(f"{name}-1").started("e", "c"))))
    await tracker.until_caught_up()
    asks = BY | {"action": "skip_compensation", "filter": {"name": name}, "confirm": 1}
    assert (await api.post("/api/v1/sagas:bulk", asks))[0] == 202
    [record] = [each for each in await tracker.commands() if each.key.decode().startswith(name)]
    assert decode(*_of(record))[1].model_dump() == BY | {"step": "reserve", "how": "skip"}


@pytest.mark.parametrize(
    ("asks", "named_"),
    [
        ({"action": "cancel", "filter": {}}, "body.filter"),
        ({"action": "signal", "filter": {"name": "order"}}, "body.signal"),
        ({"action": "migrate", "filter": {"name": "order"}}, "body.version"),
        ({"action": "delete", "filter": {"name": "order"}}, "body.action"),
        ({"action": "cancel", "filter": {"nmae": "order"}}, "body.filter.nmae"),
    ],
)
async def test_a_bulk_act_that_is_not_complete_is_400(api: Api, asks: Any, named_: str) -> None:
    code, answer, _ = await api.post("/api/v1/sagas:bulk", BY | asks)
    assert (code, answer["error"].partition(":")[0]) == (400, named_)


async def test_sagas_are_listed_page_by_page(tracker: Tracker, api: Api) -> None:
    name = f"list-{uuid.uuid4().hex[:8]}"
    logs = [SagaLog(f"{name}-{number}").started("e", "c") for number in range(5)]
    stuck(logs[0])
    logs[1].declined()
    again = SagaLog(logs[1].saga_id, run=2).started_with(name=name)
    await tracker.log.write([*named(name, *logs), *again.written])
    await tracker.until_caught_up()

    async def ids(query: str) -> tuple[list[str], str | None]:
        code, body, _ = await api.get(f"/api/v1/sagas?name={name}&{query}")
        assert code == 200, body
        return [saga["saga_id"] for saga in body["sagas"]], body["next_cursor"]

    first, cursor = await ids("limit=2")
    second, cursor = await ids(f"limit=2&cursor={cursor}")
    third, end = await ids(f"limit=2&cursor={cursor}")
    assert sorted(first + second + third) == [log.saga_id for log in logs]
    assert end is None
    assert (await ids("state=FAILED"))[0] == [logs[0].saga_id]
    assert (await ids("state=ROLLED_BACK"))[0] == []  # it runs again
    assert len((await ids("attribute=pr:7&attribute=repo:a/b"))[0]) == 4
    assert len((await ids("attribute=pr:7"))[0]) == 4
    assert (await ids("attribute=pr:8"))[0] == []
    one, cursor = await ids("attribute=pr:7&limit=3")
    other, end = await ids(f"attribute=pr:7&limit=3&cursor={cursor}")
    assert one + other == (await ids("attribute=pr:7.0"))[0]  # one word and two, in one order
    assert (len(one), len(other), end) == (3, 1, None)
    assert (await ids("attribute=pr:7&state=FAILED"))[0] == [logs[0].saga_id]
    assert (await ids("attribute=pr:7&started_before=2020-01-01T00:00:00Z"))[0] == []
    assert (await ids("started_before=2020-01-01T00:00:00Z"))[0] == []


async def test_a_summary_has_what_an_operator_looks_for(tracker: Tracker, api: Api) -> None:
    name = f"list-{uuid.uuid4().hex[:8]}"
    await tracker.log.write(named(name, stuck(SagaLog(f"{name}-1").started("e", "c"))))
    await tracker.until_caught_up()
    _, body, _ = await api.get(f"/api/v1/sagas?name={name}")
    [saga] = body["sagas"]
    for time in ("started_at", "updated_at", "finished_at"):
        assert saga.pop(time) is not None
    assert saga == {
        "saga_id": f"{name}-1",
        "run": 1,
        "name": name,
        "version": 3,
        "state": "FAILED",
        "progress": pytest.approx(1 / 3),
        "failed_step": "charge",
        "error": "Declined",
        "cause": None,
        "unresolved": ["reserve"],
        "attributes": {"pr": 7, "repo": "a/b"},
        "source": "shop",
        "parent": None,
        "correlation_id": "cid",
    }


@pytest.mark.parametrize(
    "query",
    [
        "state=LOST",
        "limit=0",
        "limit=1001",
        "cursor=x",
        "attribute=x",
        "name=",
        "started_after=yesterday",
        "started_after=0001-01-01T00:00:00%2B23:59",
        "started_before=9999-12-31T23:59:59-23:59",
    ],
)
async def test_a_malformed_query_is_400(api: Api, query: str) -> None:
    code, body, _ = await api.get(f"/api/v1/sagas?{query}")
    assert (code, body["error"].startswith("query.")) == (400, True)


async def test_a_reader_may_list(api: Api) -> None:
    assert (await api.get("/api/v1/sagas", headers={"Authorization": f"Bearer {READER}"}))[0] == 200


async def test_a_definition_and_a_sagas_trail_are_drawn(tracker: Tracker, api: Api, log: SagaLog) -> None:
    await tracker.log.write(log.done("reserve").scheduled("charge").written)
    await tracker.until_caught_up()
    async with api.http.get("/definitions/order/diagram") as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        assert (await response.text()).startswith("flowchart TD\n")
    async with api.http.get(f"/sagas/{log.saga_id}/diagram") as response:
        drawn = await response.text()
    assert "class s0 done\n" in drawn
    assert "class s1 running\n" in drawn


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/definitions/unheard-of/diagram", 404),
        ("/definitions/order/diagram?version=9", 404),
        ("/sagas/unheard-of/diagram", 404),
        ("/definitions/order/diagram?format=svg", 406),
        ("/definitions/order/diagram?format=gif", 400),
    ],
)
async def test_what_cannot_be_drawn_says_why(api: Api, path: str, code: int) -> None:
    answered, body, _ = await api.get(path)
    assert (answered, body["status_code"]) == (code, code)


async def test_a_wait_for_a_saga_ends_with_its_final_state(tracker: Tracker, api: Api, log: SagaLog) -> None:
    import asyncio

    await tracker.log.write(log.written)
    await tracker.until_caught_up()  # a commit is answered before its markers let readers see it
    waiting = asyncio.create_task(api.get(f"/webhooks/status/{log.saga_id}?wait=30"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await tracker.log.write(log.completed().written[1:])
    async with asyncio.timeout(10):
        _, body, _ = await waiting
    assert (body["state"], body["progress"]) == ("COMPLETED", 1)
