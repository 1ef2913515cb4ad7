"""CloudEvents over HTTP, as senders that know nothing of sagahook send them."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from orjson import dumps, loads

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.bodies import event_of
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import PARTITIONS, Log, ServedIngest, deploy, serving, settings_for

ONE = {"Content-Type": "application/cloudevents+json"}
MANY = {"Content-Type": "application/cloudevents-batch+json"}


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    await deploy(
        kafka_bootstrap,
        log.prefix,
        TriggerDefinition(source="parcels", event="parcel.sent", idempotency_key="parcel.id"),
    )
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    sources = {
        "orders": Source(),
        "token": Source(scheme="bearer", secrets=("the-token",)),
        "slow": Source(rate_limit="6/min burst 100"),
        "near": Source(allowed_ips=("192.0.2.0/24",)),
    }
    async with serving(settings_for(log.bootstrap, log.prefix, sources=sources)) as served:
        yield served


def event(**changed: Any) -> dict[str, Any]:
    """One that no other test sends."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/shop",
        "type": "parcel.sent",
        "time": "2026-01-05T12:00:00.123456789Z",
        "data": {"parcel": {"id": "p-1"}},
    } | changed


def in_headers(told: dict[str, Any]) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in told.items() if name != "data"}


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_an_event_is_taken_as_what_it_says_it_is_and_lies_in_the_log_as_it_was_sent(
    ingest: ServedIngest, log: Log, mode: str
) -> None:
    told = event()
    body, headers = (
        (dumps(told["data"]), in_headers(told)) if mode == "binary" else (dumps(told) + b"\n", ONE)
    )
    answer = await ingest.post("/webhooks/parcels", body, headers)
    assert answer.status == 202
    record = await log.find(answer.body["event_id"])
    envelope = Envelope.from_headers(record.headers)
    assert record.value == body
    assert envelope.subject == "parcel.sent"
    assert envelope.extension("deliveryid") == f"/shop {told['id']}"
    assert event_of(envelope.content_type, record.value) == told["data"]


async def test_the_id_and_the_source_together_are_the_delivery_in_whichever_mode(
    ingest: ServedIngest, log: Log
) -> None:
    told = event()
    first = await ingest.post("/webhooks/orders", dumps(told), ONE)
    before = await log.size()
    again = await ingest.post("/webhooks/orders", dumps(told["data"]), in_headers(told))
    assert again.body == first.body
    assert await log.size() == before
    other = await ingest.post("/webhooks/orders", dumps(told | {"source": "/market"}), ONE)
    assert other.body["event_id"] != first.body["event_id"]


async def test_a_trigger_s_idempotency_field_is_looked_for_in_the_data(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/parcels", dumps(event(data={"parcel": {}})), ONE)
    assert answer.status == 400
    assert "parcel.id" in answer.body["error"]


async def test_each_event_of_a_batch_has_an_outcome_of_its_own(ingest: ServedIngest, log: Log) -> None:
    good, bad, repeated = event(), event(data={}), event()
    answer = await ingest.post("/webhooks/parcels", dumps([good, bad, repeated, repeated]), MANY)
    assert answer.status == 207
    results = answer.body["results"]
    assert [result["status_code"] for result in results] == [202, 400, 202, 202]
    assert results[3]["event_id"] == results[2]["event_id"]
    record = await log.find(results[0]["event_id"])
    assert loads(record.value) == good
    assert Envelope.from_headers(record.headers).content_type == "application/cloudevents+json"


async def test_a_format_that_is_not_read_here_is_415(ingest: ServedIngest) -> None:
    for content_type in ("application/cloudevents+avro", "application/cloudevents-batch+xml"):
        answer = await ingest.post("/webhooks/orders", b"{}", {"Content-Type": content_type})
        assert answer.status == 415
        assert "Accept-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("access_token=the-token", 202),
        ("p=q&access_token=the%2Dtoken", 202),
        ("access_token=a-guess", 401),
        ("access_token=", 401),
        ("access_token=%FF", 401),
        ("access_token=a-guess&access_token=the-token", 401),
    ],
)
async def test_a_sender_that_cannot_send_its_token_in_a_header_sends_it_in_the_query(
    ingest: ServedIngest, query: str, status: int
) -> None:
    answer = await ingest.post(f"/webhooks/token?{query}", dumps(event()), ONE)
    assert answer.status == status
    assert "token=" not in str(answer.body)


class TestValidation:
    """ "HTTP 1.1 Web Hooks for Event Delivery" §4."""

    async def test_who_asks_whether_it_may_send_is_told_how_fast(self, ingest: ServedIngest) -> None:
        asked = {"WebHook-Request-Origin": "eventgrid.example.net", "WebHook-Request-Rate": "120"}
        free = await ingest.ask("OPTIONS", "/webhooks/orders", headers=asked)
        assert (free.status, free.headers["Allow"]) == (200, "OPTIONS, POST")
        assert free.headers["WebHook-Allowed-Origin"] == "eventgrid.example.net"
        assert free.headers["WebHook-Allowed-Rate"] == "*"
        slow = await ingest.ask("OPTIONS", "/webhooks/slow", headers=asked)
        assert slow.headers["WebHook-Allowed-Rate"] == "6"
        slower = await ingest.ask("OPTIONS", "/webhooks/slow", headers=asked | {"WebHook-Request-Rate": "3"})
        assert slower.headers["WebHook-Allowed-Rate"] == "3"

    async def test_the_callback_that_it_offers_is_not_called(self, ingest: ServedIngest) -> None:
        asked = {
            "WebHook-Request-Origin": "eventgrid.example.net",
            "WebHook-Request-Callback": f"{ingest.base_url}/webhooks/orders?from=callback",
        }
        before = (await ingest.get("/metrics")).body
        answer = await ingest.ask("OPTIONS", "/webhooks/orders", headers=asked)
        assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.example.net"
        after = (await ingest.get("/metrics")).body
        assert [line for line in after.splitlines() if "events_total" in line] == [
            line for line in before.splitlines() if "events_total" in line
        ]

    async def test_a_plain_options_permits_nothing(self, ingest: ServedIngest) -> None:
        answer = await ingest.ask("OPTIONS", "/webhooks/orders")
        assert (answer.status, answer.headers["Allow"]) == (200, "OPTIONS, POST")
        assert not [name for name in answer.headers if name.lower().startswith("webhook-")]

    @pytest.mark.parametrize(
        ("path", "headers", "status"),
        [
            ("/webhooks/nobody", {}, 404),
            ("/webhooks/near", {}, 403),
            ("/webhooks/orders", {"WebHook-Request-Origin": "<script>"}, 400),
            ("/webhooks/orders", {"WebHook-Request-Rate": "0"}, 400),
            ("/webhooks/orders", {"WebHook-Request-Rate": "1.5"}, 400),
            ("/webhooks/orders/batch", {}, 405),
        ],
    )
    async def test_who_may_not_send_or_asks_in_another_form_is_told_so(
        self, ingest: ServedIngest, path: str, headers: dict[str, str], status: int
    ) -> None:
        asked = {"WebHook-Request-Origin": "eventgrid.example.net"} | headers
        answer = await ingest.ask("OPTIONS", path, headers=asked)
        assert answer.status == status
        assert "WebHook-Allowed-Origin" not in answer.headers
