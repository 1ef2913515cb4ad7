"""What every adapter promises, in both forms, whichever server it runs in: subclassed for each of them."""

import asyncio
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import Answer, Log
from tests.web_harness import SECRET, Server

LIMIT = 1024 * 1024
"""Bytes of a body, by default."""


@dataclass(frozen=True)
class Web:
    """One application. prefix: what its routes stand below."""

    server: Server
    log: Log
    prefix: str = ""

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.server.post(self.prefix + path, body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.server.ask("GET", self.prefix + path, headers=headers)

    async def final_of(self, correlation_id: str) -> Any:
        """What became of a parcel, by one request that waits."""
        status = await self.get(f"/webhooks/parcels/status/{correlation_id}?wait=30")
        assert (status.status, status.body["final"]) == (200, True)
        return status.body


def parcel(**more: Any) -> dict[str, Any]:
    return {"parcel": uuid.uuid4().hex, **more}


def is_refusal(answer: Answer, status: int, path: str) -> bool:
    """In the one documented shape, under a correlation id that is echoed."""
    return (
        answer.status == answer.body["status_code"] == status
        and answer.body["path"] == path
        and bool(answer.body["error"])
        and answer.headers["X-Correlation-ID"] == answer.body["correlation_id"]
    )


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    """A JSON text of that many bytes, whose length nobody declares."""
    yield b'"'
    for _ in range((size - 2) // 1024):
        yield b"x" * 1024
    yield b'"'


class WebContract:
    """web: a fixture of each subclass."""

    async def test_a_webhook_lies_in_the_log_as_it_came_when_it_is_answered_202(self, web: Web) -> None:
        accepted = await web.post("/webhooks/parcels", b' {"parcel" : "as it came"} ')
        assert accepted.status == 202
        assert accepted.body == {
            "status": "accepted",
            "source": "parcels",
            "message": "Event queued for processing",
            "correlation_id": accepted.headers["X-Correlation-ID"],
            "event_id": accepted.body["event_id"],
        }
        record = await web.log.find(accepted.body["event_id"])
        assert record.value == b' {"parcel" : "as it came"} '

    async def test_what_becomes_of_it_is_told_by_the_applications_own_routes(self, web: Web) -> None:
        status = await web.final_of((await web.post("/webhooks/parcels", parcel())).body["correlation_id"])
        assert status["message"] == "All 1 saga(s) completed successfully"
        saga = await web.get(f"/webhooks/status/{status['saga_ids'][0]}")
        assert (saga.status, saga.body["state"]) == (200, "COMPLETED")
        unknown = await web.get("/webhooks/parcels/status/never-seen?wait=0")
        assert (unknown.status, unknown.body["status_code"]) == (404, 404)

    async def test_a_senders_correlation_id_is_echoed_and_stands_in_the_record(self, web: Web) -> None:
        given = f"mine-{uuid.uuid4().hex}"
        accepted = await web.post("/webhooks/parcels", parcel(), **{"X-Correlation-ID": given})
        assert accepted.headers.getall("X-Correlation-ID") == [given]  # type: ignore[attr-defined]
        record = await web.log.find(accepted.body["event_id"])
        assert Envelope.from_headers(record.headers).correlation_id == given

    async def test_other_routes_have_a_correlation_id_too_taken_or_made(self, web: Web) -> None:
        taken = await web.get("/whoami", **{"X-Correlation-ID": "taken"})
        assert taken.body["correlation_id"] == taken.headers["X-Correlation-ID"] == "taken"
        made = [await web.get("/whoami"), await web.get("/whoami", **{"X-Correlation-ID": "no good: spaces"})]
        ids = {answer.headers["X-Correlation-ID"] for answer in made}
        assert ids == {answer.body["correlation_id"] for answer in made}
        assert len(ids) == 2
        assert "no good: spaces" not in ids

    async def test_what_the_application_sends_itself_goes_on_with_the_requests_correlation_id(
        self, web: Web
    ) -> None:
        given = f"mine-{uuid.uuid4().hex}"
        sent = await web.post("/send", parcel(), **{"X-Correlation-ID": given})
        assert (sent.status, sent.body["correlation_id"]) == (200, given)
        record = await web.log.find(sent.body["event_id"])
        assert Envelope.from_headers(record.headers).correlation_id == given

    async def test_a_request_can_wait_for_what_becomes_of_its_event(self, web: Web) -> None:
        completed, failed = await asyncio.gather(
            web.post("/run", parcel()), web.post("/run", parcel(lost=True))
        )
        assert (completed.status, completed.body["status"]) == (200, "completed")
        assert (failed.status, failed.body["status"]) == (200, "failed")
        assert "the parcel is lost" in str(failed.body["saga_errors"])
        diagram = await web.get(f"/sagas/{completed.body['saga_ids'][0]}/diagram")
        assert diagram.body.startswith("flowchart")

    async def test_who_cannot_sign_is_refused_and_who_can_is_not(self, web: Web) -> None:
        body = b'{"zen": "Keep it logically awesome."}'
        good = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        github = {"X-GitHub-Event": "ping"}
        for signature in ({}, {"X-Hub-Signature-256": good[:-1] + "x"}):
            delivery = {"X-GitHub-Delivery": uuid.uuid4().hex}
            refused = await web.post("/webhooks/signed", body, **github, **delivery, **signature)
            assert is_refusal(refused, 401, f"{web.prefix}/webhooks/signed")
        signed = {"X-GitHub-Delivery": uuid.uuid4().hex, "X-Hub-Signature-256": good}
        first = await web.post("/webhooks/signed", body, **github, **signed)
        assert first.status == 202
        async with asyncio.timeout(60):  # until every worker has read of it
            while (await web.post("/webhooks/signed", body, **github, **signed)).body != first.body:
                await asyncio.sleep(0.05)

    async def test_bad_input_is_refused_in_the_documented_words(self, web: Web) -> None:
        path = f"{web.prefix}/webhooks/parcels"
        malformed = await web.post("/webhooks/parcels", b'{"parcel": ')
        assert is_refusal(malformed, 400, path)
        without = await web.post("/webhooks/parcels", {})
        assert is_refusal(without, 400, path)
        assert "'parcel'" in without.body["error"]
        wrong_id = await web.post("/webhooks/parcels", parcel(), **{"X-Correlation-ID": "a b"})
        assert is_refusal(wrong_id, 400, path)
        unknown = await web.post("/webhooks/nobody", parcel())
        assert is_refusal(unknown, 404, f"{web.prefix}/webhooks/nobody")

    async def test_a_body_is_held_to_its_limit_whether_its_length_is_declared_or_not(self, web: Web) -> None:
        path = f"{web.prefix}/webhooks/parcels"
        assert is_refusal(await web.post("/webhooks/parcels", b"x" * (LIMIT + 1)), 413, path)
        assert is_refusal(await web.post("/webhooks/parcels", in_chunks(LIMIT + 4096)), 413, path)

    async def test_a_body_in_chunks_is_taken_whole(self, web: Web) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b'{"parcel": '
            yield b'"in pieces"}'

        accepted = await web.post("/webhooks/parcels", chunks())
        assert accepted.status == 202
        assert (await web.log.find(accepted.body["event_id"])).value == b'{"parcel": "in pieces"}'

    async def test_events_of_a_batch_are_answered_each_for_itself(self, web: Web) -> None:
        answer = await web.post("/webhooks/parcels/batch", [parcel(), {}, parcel()])
        assert answer.status == 207
        results = answer.body["results"]
        assert [each["status"] for each in results] == ["accepted", "refused", "accepted"]
        assert len({each["correlation_id"] for each in results}) == 3

    async def test_a_sender_may_ask_first_whether_it_may_send(self, web: Web) -> None:
        path = f"{web.prefix}/webhooks/parcels"
        asked = await web.server.ask("OPTIONS", path, headers={"WebHook-Request-Origin": "sender.example"})
        assert (asked.status, asked.headers["WebHook-Allowed-Origin"]) == (200, "sender.example")

    async def test_its_health_is_told_in_the_shape_of_every_service(self, web: Web) -> None:
        health = await web.get("/health")
        assert (health.status, health.body["status"]) == (200, "healthy")
        assert health.body.keys() == {"status", "timestamp", "checks", "uptime"}
