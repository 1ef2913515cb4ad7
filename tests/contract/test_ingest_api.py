"""`POST /webhooks/{source}` as api.md §1 and §8 have it, over real HTTP into a real log."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, deploy, serving, settings_for

LIMIT = 100_000
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    await deploy(
        kafka_bootstrap,
        log.prefix,
        TriggerDefinition(source="order_created", idempotency_key="order.id"),
        TriggerDefinition(source="github", event="push", idempotency_key="head"),
        TriggerDefinition(source="parcels", idempotency_key="carrier", more_keys=("parcel.id",)),
    )
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    async with serving(settings_for(log.bootstrap, log.prefix, body_limit=LIMIT)) as served:
        yield served


def is_documented_error(answer: Answer, path: str) -> bool:
    return bool(
        answer.body.keys() == {"error", "status_code", "path", "correlation_id"}
        and answer.body["status_code"] == answer.status
        and answer.body["path"] == path
        and answer.body["correlation_id"] == answer.headers["X-Correlation-ID"]
    )


async def test_an_accepted_webhook_is_answered_with_its_ids(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/orders")
    assert answer.status == 202
    assert answer.body == {
        "status": "accepted",
        "source": "orders",
        "message": "Event queued for processing",
        "correlation_id": answer.headers["X-Correlation-ID"],
        "event_id": answer.body["event_id"],
    }
    assert UUID.match(answer.body["event_id"])


async def test_the_body_lies_in_kafka_byte_for_byte_under_its_event_id(
    ingest: ServedIngest, log: Log
) -> None:
    body = '\n{ "n" : 1.0, "text":"\\u00e9é",\t"n2":[ ] }  '.encode()
    answer = await ingest.post(
        "/webhooks/orders",
        body,
        {
            "Content-Type": "application/json; charset=utf-8",
            "X-Event-Type": "order created",
            "X-Correlation-ID": "trace-1.A_b",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    record = await log.find(answer.body["event_id"])
    envelope = Envelope.from_headers(record.headers)
    assert record.value == body
    assert record.partition == partition_of(envelope.id, PARTITIONS)
    assert (envelope.id, envelope.source) == (answer.body["event_id"], "/webhooks/orders")
    assert (envelope.subject, envelope.correlation_id) == ("order created", "trace-1.A_b")
    assert envelope.content_type == "application/json; charset=utf-8"
    assert envelope.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert envelope.extension("webhooksource") == "orders"


@pytest.mark.parametrize("body", [b"[1, 2]", b'"text"', b"7", b"null", b"{}"])
async def test_any_json_document_is_a_good_event(ingest: ServedIngest, body: bytes) -> None:
    assert (await ingest.post("/webhooks/orders", body)).status == 202


@pytest.mark.parametrize(
    ("body", "headers", "subject"),
    [
        (b'{"event_type": "a", "event": "b", "type": "c"}', {"X-Event-Type": "header"}, "header"),
        (b'{"event_type": "a", "event": "b", "type": "c"}', {}, "a"),
        (b'{"event_type": 7, "event": "b", "type": "c"}', {}, "b"),
        (b'{"type": "c"}', {}, "c"),
        (b'{"event": {"type": "x"}}', {}, ""),
        (b'["event_type"]', {}, ""),
    ],
)
async def test_the_event_type_is_found_in_a_documented_order(
    ingest: ServedIngest, log: Log, body: bytes, headers: dict[str, str], subject: str
) -> None:
    answer = await ingest.post("/webhooks/orders", body, headers)
    record = await log.find(answer.body["event_id"])
    assert Envelope.from_headers(record.headers).subject == subject


async def test_a_given_correlation_id_is_echoed_and_may_cover_several_events(ingest: ServedIngest) -> None:
    first, second = [
        await ingest.post("/webhooks/orders", headers={"X-Correlation-ID": "flow-7"}) for _ in range(2)
    ]
    assert first.body["correlation_id"] == second.body["correlation_id"] == "flow-7"
    assert first.headers["X-Correlation-ID"] == "flow-7"
    assert first.body["event_id"] != second.body["event_id"]


REFUSED: dict[str, tuple[str, bytes, dict[str, str], int, str]] = {
    "an unknown source": ("/webhooks/nobody", b"{}", {}, 404, "nobody"),
    "an empty body": ("/webhooks/orders", b"", {}, 400, "empty"),
    "cut-off JSON": ("/webhooks/orders", b'{"a": ', {}, 400, "JSON"),
    "NaN": ("/webhooks/orders", b'{"a": NaN}', {}, 400, "JSON"),
    "Infinity": ("/webhooks/orders", b"[Infinity]", {}, 400, "JSON"),
    "a number beyond a double": ("/webhooks/orders", b"[1e999]", {}, 400, "JSON"),
    "bad UTF-8": ("/webhooks/orders", b'"\xff"', {}, 400, "JSON"),
    "a name that is there twice": ("/webhooks/orders", b'{"a": 1, "b": {"c": 1, "c": 2}}', {}, 400, "twice"),
    "a byte order mark": ("/webhooks/orders", b"\xef\xbb\xbf{}", {}, 400, "byte order mark"),
    "a lone surrogate": ("/webhooks/orders", b'"\\ud800"', {}, 400, "JSON"),
    "a form": ("/webhooks/orders", b"a=1&b=2", {}, 400, "JSON"),
    "nesting without end": ("/webhooks/orders", b"[" * 50_000, {}, 400, "JSON"),
    "nesting that is too deep": ("/webhooks/orders", b"[" * 101 + b"]" * 101, {}, 400, "101|100 levels"),
    "too large a body": ("/webhooks/orders", b'"' + b"x" * LIMIT + b'"', {}, 413, str(LIMIT)),
    "a strange correlation id": ("/webhooks/orders", b"{}", {"X-Correlation-ID": "a b"}, 400, "Correlation"),
    "a long correlation id": ("/webhooks/orders", b"{}", {"X-Correlation-ID": "a" * 129}, 400, "Correlation"),
    "an empty idempotency key": ("/webhooks/orders", b"{}", {"Idempotency-Key": '""'}, 400, "Idempotency"),
    "an idempotency field that is absent": ("/webhooks/order_created", b'{"order": {}}', {}, 400, "order.id"),
    "an idempotency field that is null": (
        "/webhooks/order_created",
        b'{"order": {"id": null}}',
        {},
        400,
        "order.id",
    ),
    "an idempotency field that is an object": (
        "/webhooks/order_created",
        b'{"order": {"id": {}}}',
        {},
        400,
        "order.id",
    ),
    "an idempotency field that loses digits": (
        "/webhooks/order_created",
        b'{"order": {"id": 98765432109876543210987}}',
        {},
        400,
        "order.id",
    ),
    "a list that lacks the idempotency field": ("/webhooks/order_created", b"[1]", {}, 400, "order.id"),
    "one of several idempotency fields": ("/webhooks/parcels", b'{"carrier": "x"}', {}, 400, "parcel.id"),
    "the idempotency field of one event type": ("/webhooks/github", b'{"type": "push"}', {}, 400, "head"),
    "a notify URL that the source does not allow": (
        "/webhooks/orders",
        b"{}",
        {"X-Notify-URL": "https://example.com/hook"},
        400,
        "allow_notify_url",
    ),
    "a notify URL with a password": (
        "/webhooks/shop",
        b"{}",
        {"X-Notify-URL": "https://me:secret@example.com/"},
        400,
        "X-Notify-URL",
    ),
    "a notify URL of another scheme": (
        "/webhooks/shop?notify_url=file:///etc/passwd",
        b"{}",
        {},
        400,
        "X-Notify-URL",
    ),
    "a relative notify URL": ("/webhooks/shop", b"{}", {"X-Notify-URL": "/hook"}, 400, "X-Notify-URL"),
    "a long notify URL": (
        "/webhooks/shop",
        b"{}",
        {"X-Notify-URL": "https://example.com/" + "x" * 2048},
        400,
        "X-Notify-URL",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refused_webhook_is_told_why_and_leaves_nothing_behind(
    ingest: ServedIngest, log: Log, case: str
) -> None:
    path, body, headers, status, said = REFUSED[case]
    before = await log.size()
    answer = await ingest.post(path, body, headers)
    assert answer.status == status
    assert is_documented_error(answer, path.partition("?")[0])
    assert re.search(said, answer.body["error"])
    assert "secret" not in answer.body["error"]
    assert await log.size() == before


async def test_an_event_that_no_idempotent_trigger_wants_needs_no_field(ingest: ServedIngest) -> None:
    assert (await ingest.post("/webhooks/github", b'{"type": "ping"}')).status == 202


@pytest.mark.parametrize("value", [b'"o-1"', b"0", b"1.5", b"false", b'""'])
async def test_any_scalar_identifies(ingest: ServedIngest, value: bytes) -> None:
    assert (await ingest.post("/webhooks/order_created", b'{"order": {"id": %s}}' % value)).status == 202


@pytest.mark.parametrize("path", ["/webhooks/shop", "/webhooks/shop?notify_url=http%3A%2F%2Fa.example%2Fh"])
async def test_an_allowed_notify_url_travels_with_the_event(
    ingest: ServedIngest, log: Log, path: str
) -> None:
    headers = {} if "?" in path else {"X-Notify-URL": "http://a.example/h"}
    answer = await ingest.post(path, headers=headers)
    record = await log.find(answer.body["event_id"])
    assert Envelope.from_headers(record.headers).extension("notifyurl") == "http://a.example/h"


async def test_20_megabytes_are_refused_at_once_and_the_connection_serves_on(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/orders", b"x" * 20_000_000)
    assert answer.status == 413
    assert is_documented_error(answer, "/webhooks/orders")
    assert (await ingest.post("/webhooks/orders")).status == 202


async def test_the_limit_holds_while_a_chunked_body_is_still_being_sent(
    ingest: ServedIngest, log: Log
) -> None:
    before = await log.size()
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    writer.write(b"POST /webhooks/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2):
        writer.write(b"%x\r\n%s\r\n" % (LIMIT, b"x" * LIMIT))
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()
    assert await log.size() == before


async def test_a_sender_that_leaves_in_the_middle_leaves_nothing_behind(
    ingest: ServedIngest, log: Log
) -> None:
    before = await log.size()
    _, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    writer.write(b'POST /webhooks/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"half": ')
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    assert (await ingest.post("/webhooks/orders")).status == 202
    assert await log.size() == before + 1


async def test_problem_details_are_given_to_who_asks_for_them(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/nobody", headers={"Accept": "application/problem+json"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == 404
    assert answer.body["instance"] == "/webhooks/nobody"


async def test_another_method_or_path_is_refused_in_the_documented_shape(ingest: ServedIngest) -> None:
    wrong_method = await ingest.get("/webhooks/orders")
    assert (wrong_method.status, wrong_method.headers["Allow"]) == (405, "OPTIONS, POST")
    assert is_documented_error(wrong_method, "/webhooks/orders")
    elsewhere = await ingest.post("/webhooks/orders/more")
    assert (elsewhere.status, elsewhere.body["path"]) == (404, "/webhooks/orders/more")


async def test_the_openapi_document_has_the_route(ingest: ServedIngest) -> None:
    document = (await ingest.get("/openapi.json")).body
    operation = document["paths"]["/webhooks/{source}"]["post"]
    assert set(operation["responses"]) >= {"202", "400", "404", "413", "422", "503"}
    assert {parameter["name"] for parameter in operation["parameters"]} >= {"source", "Idempotency-Key"}
    assert "/health" in document["paths"]


async def test_health_and_metrics_tell_of_it(ingest: ServedIngest) -> None:
    await ingest.post("/webhooks/orders")
    await ingest.post("/webhooks/made-up-by-a-sender")
    health = await ingest.get("/health")
    assert (health.status, health.body["status"]) == (200, "healthy")
    assert health.body["checks"] == {"kafka": "healthy", "views": "healthy"}
    metrics = (await ingest.get("/metrics")).body
    assert 'webhook_events_total{outcome="accepted",source="orders"}' in metrics
    assert 'webhook_errors_total{source="unknown",status="404"}' in metrics
    assert "webhook_processing_duration_seconds_count" in metrics
    assert "made-up-by-a-sender" not in metrics
