"""What ingest leaves behind of a request: its headers beside the body, without secrets; a refusal in the audit log."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.domain.sources import scheme_for
from sagahook_schemas.topics import AUDIT
from sagahook_schemas.webhooks import request_headers
from tests.ingest_harness import PARTITIONS, Log, serving, settings_for
from tests.runner_harness import LogEvent, RunnerHarness, poll

TOKEN = "the-token-of-4711"
HUB = Source.model_validate({"scheme": "github", "secrets": ["hub-secret"]})
SOURCES = {"api": Source.model_validate({"scheme": "bearer", "secrets": [TOKEN]}), "hub": HUB}


async def test_a_request_is_recorded_without_what_it_was_let_in_by(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    log = Log(kafka_bootstrap, topic_prefix)
    body = b'{"order": 1}'
    signed = scheme_for("hub", HUB).sign(body, datetime.now(UTC), "d-1") | {"X-GitHub-Event": "ping"}
    async with serving(settings_for(kafka_bootstrap, topic_prefix, sources=SOURCES)) as served:
        for path, headers in (
            ("/webhooks/api", {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k-4711"}),
            ("/webhooks/hub", signed),
            ("/webhooks/api/batch", {"Authorization": f"Bearer {TOKEN}", "User-Agent": "batcher"}),
        ):
            sent = b"[%b, %b]" % (body, body) if path.endswith("batch") else body
            answer = await served.post(path, sent, headers | {"Cookie": "session=4711"})
            assert answer.status == 202, answer.body
        for _ in range(3):
            answer = await served.post("/webhooks/api", body, {"Authorization": "Bearer wrong"})
            assert answer.status == 401
        refused = await refusals(kafka_bootstrap, topic_prefix, tmp_path, 3)

    records = await log.read()
    assert len(records) == 4
    for record in records:
        everything = b"\n".join(value for _, value in record.headers)
        assert TOKEN.encode() not in everything
        assert b"4711" not in everything
        kept = request_headers(record.headers)
        assert kept is not None
        assert kept["cookie"] == "***"
        assert kept["content-type"] == "application/json"
    found = {request_headers(record.headers)["user-agent"] for record in records}  # type: ignore[index]
    assert "batcher" in found
    (hub,) = [record for record in records if b"hub" in dict(record.headers)["ce_webhooksource"]]
    told = request_headers(hub.headers) or {}
    assert (told["x-github-event"], told["x-hub-signature-256"]) == ("ping", "***")
    assert told["x-github-delivery"] == dict(hub.headers)["ce_deliveryid"].decode()
    assert {(each.data["target"], each.data["client"], each.data["action"]) for each in refused} == {
        ("api", "127.0.0.1", "webhook.receive")
    }
    assert "wrong" not in str(refused)


async def refusals(bootstrap: str, prefix: str, folder: Path, calls: int) -> list[LogEvent]:
    """The audit records of so many refused calls."""
    found: list[LogEvent] = []
    harness = RunnerHarness(bootstrap, prefix, folder, partitions=PARTITIONS)
    async with harness.reader(AUDIT) as consumer, asyncio.timeout(60):
        while sum(each.data["count"] for each in found) < calls:
            found += await poll(consumer)
    return found
