"""What a source's configuration makes of a request: who may send, how often, how it signs, and where its ids are."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from orjson import dumps

from sagahook.runtime.sources import RateLimit, Source
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.domain.sources import scheme_for
from sagahook_schemas.bodies import event_of
from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import PARTITIONS, Log, ServedIngest, serving, settings_for

SLACK = Source(scheme="slack", secrets=("slack-secret",))
STANDARD = Source(scheme="standard", secrets=("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SOURCES = {
    "orders": Source(),
    "slack": SLACK,
    "standard": STANDARD,
    "bearer": Source(scheme="bearer", secrets=("the-token",)),
    "limited": Source(rate_limit=RateLimit(1.0, 2)),
    "near": Source(allowed_ips=("127.0.0.0/8", "192.0.2.0/24")),
    "far": Source(allowed_ips=("192.0.2.0/24",)),
    "small": Source(body_limit=10),
    "own": Source(event_type="body:meta.kind", delivery_id="header:X-Message", idempotency_key="body:key"),
}


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    async with serving(settings_for(log.bootstrap, log.prefix, sources=SOURCES)) as served:
        yield served


def signed(name: str, body: bytes) -> dict[str, str]:
    return scheme_for(name, SOURCES[name]).sign(body, datetime.now(UTC), f"msg_{uuid.uuid4().hex}")


async def test_a_signed_webhook_is_accepted_and_one_that_is_altered_is_not(
    ingest: ServedIngest, log: Log
) -> None:
    body = b'{"type": "invoice.paid"}'
    headers = signed("standard", body)
    accepted = await ingest.post("/webhooks/standard", body, headers)
    assert accepted.status == 202
    envelope = Envelope.from_headers((await log.find(accepted.body["event_id"])).headers)
    assert (envelope.subject, envelope.extension("deliveryid")) == ("invoice.paid", headers["webhook-id"])
    before = await log.size()
    refused = await ingest.post("/webhooks/standard", body + b" ", headers)
    assert (refused.status, "WWW-Authenticate" in refused.headers) == (401, True)
    assert await log.size() == before


async def test_a_delivery_that_comes_again_gets_the_first_answer_again(
    ingest: ServedIngest, log: Log
) -> None:
    body = b"{}"
    headers = signed("standard", body)
    first = await ingest.post("/webhooks/standard", body, headers)
    before = await log.size()
    again = await ingest.post(
        "/webhooks/standard", body, headers | {"Idempotency-Key": "made-up-by-a-replayer"}
    )
    assert (again.status, again.body) == (202, first.body)
    assert await log.size() == before


async def test_the_signature_is_asked_for_before_the_body_is_looked_at(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/bearer", b"no json")
    assert answer.status == 401
    assert (
        await ingest.post("/webhooks/bearer", b"no json", {"Authorization": "Bearer the-token"})
    ).status == 400


class TestSlack:
    async def test_its_question_whose_the_url_is_is_answered_and_not_recorded(
        self, ingest: ServedIngest, log: Log
    ) -> None:
        before = await log.size()
        body = b'{"token": "t", "challenge": "3eZbrw1aBm2", "type": "url_verification"}'
        answer = await ingest.post("/webhooks/slack", body, signed("slack", body))
        assert (answer.status, answer.body) == (200, {"challenge": "3eZbrw1aBm2"})
        assert await log.size() == before

    async def test_a_stranger_s_question_is_not_answered(self, ingest: ServedIngest) -> None:
        body = b'{"challenge": "3eZbrw1aBm2", "type": "url_verification"}'
        answer = await ingest.post("/webhooks/slack", body)
        assert answer.status == 401
        assert "3eZbrw1aBm2" not in str(answer.body)

    @pytest.mark.parametrize("challenge", [None, "", 7, "x" * 1_001])
    async def test_a_question_without_a_challenge_is_refused(
        self, ingest: ServedIngest, challenge: object
    ) -> None:
        body = dumps({"challenge": challenge, "type": "url_verification"})
        assert (await ingest.post("/webhooks/slack", body, signed("slack", body))).status == 400

    async def test_another_source_s_event_of_that_type_is_an_event(self, ingest: ServedIngest) -> None:
        body = b'{"challenge": "x", "type": "url_verification"}'
        assert (await ingest.post("/webhooks/orders", body)).status == 202

    async def test_its_forms_lie_in_the_log_as_they_were_sent(self, ingest: ServedIngest, log: Log) -> None:
        body = b"payload=%7B%22type%22%3A%22block_actions%22%2C+%22n%22%3A1%7D"
        answer = await ingest.post("/webhooks/slack", body, signed("slack", body) | FORM)
        assert answer.status == 202
        record = await log.find(answer.body["event_id"])
        envelope = Envelope.from_headers(record.headers)
        assert (record.value, envelope.subject) == (body, "block_actions")
        assert event_of(envelope.content_type, record.value) == {"type": "block_actions", "n": 1}


async def test_more_than_a_client_may_send_is_429_and_says_when_to_come_again(ingest: ServedIngest) -> None:
    answers = [await ingest.post("/webhooks/limited") for _ in range(5)]
    refused = answers[-1]
    assert answers[0].status == 202
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["RateLimit-Policy"].startswith('"webhooks";q=2')
    assert "r=0" in refused.headers["RateLimit"]


async def test_unsigned_sources_without_a_rate_of_their_own_have_the_usual_one(log: Log) -> None:
    settings = settings_for(log.bootstrap, log.prefix, unsigned_rate_limit="1/min burst 2", sources=SOURCES)
    async with serving(settings) as strict:
        assert [(await strict.post("/webhooks/orders")).status for _ in range(3)] == [202, 202, 429]
        bearer = {"Authorization": "Bearer the-token"}
        assert {(await strict.post("/webhooks/bearer", headers=bearer)).status for _ in range(5)} == {202}


async def test_only_from_allowed_addresses(ingest: ServedIngest) -> None:
    assert (await ingest.post("/webhooks/near")).status == 202
    refused = await ingest.post("/webhooks/far")
    assert refused.status == 403
    assert "127.0.0.1" in refused.body["error"]


async def test_a_forwarded_address_is_believed_only_from_a_configured_proxy(
    ingest: ServedIngest, log: Log
) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.7"}
    assert (await ingest.post("/webhooks/far", headers=forwarded)).status == 403
    settings = settings_for(log.bootstrap, log.prefix, trusted_proxies="127.0.0.1", sources=SOURCES)
    async with serving(settings) as behind_proxy:
        assert (await behind_proxy.post("/webhooks/far", headers=forwarded)).status == 202
        spoofed = {"X-Forwarded-For": "192.0.2.7, 203.0.113.9"}
        assert (await behind_proxy.post("/webhooks/far", headers=spoofed)).status == 403


async def test_a_source_s_own_body_limit_holds(ingest: ServedIngest) -> None:
    assert (await ingest.post("/webhooks/small", b"12345678")).status == 202
    assert (await ingest.post("/webhooks/small", b"12345678901")).status == 413


async def test_an_encoded_body_is_refused_and_told_how_it_is_taken(ingest: ServedIngest) -> None:
    answer = await ingest.post("/webhooks/orders", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "identity")


async def test_event_type_delivery_id_and_key_are_where_the_source_says(
    ingest: ServedIngest, log: Log
) -> None:
    message = uuid.uuid4().hex
    answer = await ingest.post(
        "/webhooks/own", dumps({"meta": {"kind": "paid"}, "key": message}), {"X-Message": message}
    )
    envelope = Envelope.from_headers((await log.find(answer.body["event_id"])).headers)
    assert (envelope.subject, envelope.extension("deliveryid")) == ("paid", message)
    assert envelope.extension("idempotencykeyhash")
    missing = await ingest.post("/webhooks/own", b"{}")
    assert (missing.status, "x-message" in missing.body["error"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/webhooks/bearer", b"Authorization: Bearer the-token", 401),
        ("/webhooks/orders", b"Content-Type: application/json", 400),
        ("/webhooks/orders", b"Idempotency-Key: k", 400),
        ("/webhooks/orders", b"X-Correlation-ID: c", 400),
        ("/webhooks/own", b"X-Message: m", 400),
        ("/webhooks/orders", b"X-Message: m", 202),
        ("/webhooks/orders", b"Accept: */*", 202),
    ],
)
async def test_a_header_that_came_twice_is_no_basis(
    ingest: ServedIngest, path: str, header: bytes, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n" % path.encode()
    writer.write(head + b"%s\r\n" % header * 2 + b"\r\n{}")
    assert (await reader.readline()).split()[1] == b"%d" % status
    writer.close()


async def test_what_is_refused_is_counted_and_told_in_the_log_without_a_secret(
    ingest: ServedIngest,
) -> None:
    with structlog.testing.capture_logs() as told:
        headers = {"Authorization": "Bearer a-guess", "X-Correlation-ID": "audited"}
        await ingest.post("/webhooks/bearer", headers=headers)
        await ingest.post("/webhooks/far")
    unsigned, refused = (each for each in told if each["event"].startswith("webhook."))
    assert unsigned["event"] == "webhook.unsigned"
    assert (unsigned["source"], unsigned["scheme"], unsigned["status"]) == ("bearer", "bearer", 401)
    assert (unsigned["client"], unsigned["correlation_id"]) == ("127.0.0.1", "audited")
    assert (refused["event"], refused["status"]) == ("webhook.refused", 403)
    assert "a-guess" not in str(told)
    metrics = (await ingest.get("/metrics")).body
    assert 'sagahook_webhook_signature_failures_total{scheme="bearer",source="bearer"}' in metrics
    assert 'webhook_errors_total{source="far",status="403"}' in metrics


async def test_a_flood_of_refusals_does_not_flood_the_log(ingest: ServedIngest) -> None:
    with structlog.testing.capture_logs() as told:
        await asyncio.gather(*(ingest.post("/webhooks/nobody") for _ in range(300)))
    assert 100 <= len([each for each in told if each["event"] == "webhook.refused"]) < 300


async def test_a_changed_file_of_sources_takes_effect_without_a_restart(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[late]\n")
    settings = settings_for(log.bootstrap, log.prefix, sources={}, sources_file=file)
    async with serving(settings) as ingest:
        assert (await ingest.post("/webhooks/late")).status == 202
        (tmp_path / "token").write_text("the-token")
        file.write_text(f'[late]\nscheme = "bearer"\nsecrets = ["file:{tmp_path}/token"]\n')
        async with asyncio.timeout(20):
            while (await ingest.post("/webhooks/late")).status != 401:
                await asyncio.sleep(0.05)
        assert (
            await ingest.post("/webhooks/late", headers={"Authorization": "Bearer the-token"})
        ).status == 202
