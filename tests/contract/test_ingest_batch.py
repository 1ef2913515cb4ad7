"""`POST /webhooks/{source}/batch`: several events in one request, each with an outcome of its own."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.domain.sources import scheme_for
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import PARTITIONS, Log, ServedIngest, deploy, serving, settings_for

SIGNED = Source(scheme="hmac", secrets=("secret",), header="X-Signature", idempotency_key="body:key")
LIMIT = 10_000


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    await deploy(
        kafka_bootstrap, log.prefix, TriggerDefinition(source="parcels", event="sent", idempotency_key="id")
    )
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    sources = {"orders": Source(), "signed": SIGNED}
    settings = settings_for(log.bootstrap, log.prefix, sources=sources, body_limit=LIMIT, batch_limit=5)
    async with serving(settings) as served:
        yield served


async def test_all_accepted_is_202_with_the_ids_of_each(ingest: ServedIngest, log: Log) -> None:
    answer = await ingest.post("/webhooks/orders/batch", b'[ {"n":1.0, "type": "a"} ,7 , "\xc3\xa9"]')
    assert answer.status == 202
    results = answer.body["results"]
    assert answer.body == {
        "status": "accepted",
        "source": "orders",
        "accepted": 3,
        "refused": 0,
        "results": results,
    }
    records = [await log.find(result["event_id"]) for result in results]
    assert [record.value for record in records] == [b'{"n":1.0, "type": "a"}', b"7", b'"\xc3\xa9"']
    envelopes = [Envelope.from_headers(record.headers) for record in records]
    assert [envelope.subject for envelope in envelopes] == ["a", "", ""]
    assert [envelope.correlation_id for envelope in envelopes] == [
        result["correlation_id"] for result in results
    ]
    assert len({result["correlation_id"] for result in results}) == 3


async def test_one_correlation_id_may_cover_the_whole_batch(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/orders/batch", b"[1, 2]", {"X-Correlation-ID": "flow"})
    assert answer.headers["X-Correlation-ID"] == "flow"
    assert {result["correlation_id"] for result in answer.body["results"]} == {"flow"}


async def test_what_is_refused_of_a_batch_keeps_nothing_else_back(ingest: ServedIngest, log: Log) -> None:
    before = await log.size()
    answer = await ingest.post(
        "/webhooks/parcels/batch", b'[{"type": "sent", "id": 1}, {"type": "sent"}, {"type": "x"}]'
    )
    assert answer.status == 207
    assert (answer.body["status"], answer.body["accepted"], answer.body["refused"]) == (
        "partly_accepted",
        2,
        1,
    )
    refused = answer.body["results"][1]
    assert (refused["index"], refused["status"], refused["status_code"]) == (1, "refused", 400)
    assert "'id'" in refused["error"]
    assert await log.size() == before + 2


async def test_a_batch_of_which_nothing_is_accepted_is_still_told_item_by_item(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/parcels/batch", b'[{"type": "sent"}]')
    assert (answer.status, answer.body["status"]) == (207, "refused")


async def test_an_empty_batch_is_one_with_nothing_to_do(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/orders/batch", b"[]")
    assert (answer.status, answer.body["results"]) == (202, [])


async def test_a_batch_sent_again_under_its_key_is_answered_as_the_first_was(
    ingest: ServedIngest, log: Log
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = await ingest.post("/webhooks/orders/batch", b"[1, 1]", key)
    before = await log.size()
    again = await ingest.post("/webhooks/orders/batch", b"[1, 1]", key)
    assert again.body == first.body
    other = await ingest.post("/webhooks/orders/batch", b"[1, 2]", key)
    assert [result["status_code"] for result in other.body["results"]] == [202, 422]
    assert await log.size() == before


async def test_one_signature_is_over_the_whole_batch_and_keys_are_in_the_items(
    ingest: ServedIngest, log: Log
) -> None:
    body = b'[{"key": "%s"}, {"key": "%s"}]' % ((uuid.uuid4().hex.encode(),) * 2)
    headers = scheme_for("signed", SIGNED).sign(body, datetime.now(UTC), "")
    before = await log.size()
    answer = await ingest.post("/webhooks/signed/batch", body, headers)
    assert answer.status == 202
    assert len({result["event_id"] for result in answer.body["results"]}) == 1
    assert await log.size() == before + 1
    assert (await ingest.post("/webhooks/signed/batch", body + b" ", headers)).status == 401


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/webhooks/nobody/batch", b"[]", {}, 404, "nobody"),
        ("/webhooks/orders/batch", b"{}", {}, 400, "array"),
        ("/webhooks/orders/batch", b"[1, ", {}, 400, "JSON"),
        ("/webhooks/orders/batch", b'[{"a": 1, "a": 2}]', {}, 400, "twice"),
        ("/webhooks/orders/batch", b"[1, 1, 1, 1, 1, 1]", {}, 413, "5 are the most"),
        ("/webhooks/orders/batch", b'["%s"]' % (b"x" * LIMIT), {}, 413, str(LIMIT)),
        ("/webhooks/orders/batch", b"[1]", {"Content-Encoding": "gzip"}, 415, "gzip"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    ingest: ServedIngest, log: Log, path: str, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    before = await log.size()
    answer = await ingest.post(path, body, headers)
    assert (answer.status, answer.body["path"]) == (status, path)
    assert said in answer.body["error"]
    assert await log.size() == before
