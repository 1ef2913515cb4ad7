"""What ingest tells senders that come too often, from elsewhere, under a forged address, or without a signature."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.hostile_case import post
from tests.hostile_replica import PROXY, Replica, replica


@pytest_asyncio.fixture(scope="module")
async def ingest(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replica]:
    async with replica(kafka_bootstrap, tmp_path_factory.mktemp("hostile") / "ingest.log") as process:
        yield process


async def test_a_refused_request_is_told_its_correlation_id_and_in_problem_details_where_asked(
    ingest: Replica,
) -> None:
    given = (b"X-Correlation-ID: flow-7", b"Accept: application/problem+json", b"Expect: nothing")
    answer = await ingest.send(post(b"{}", *given))
    assert (answer.status, answer.headers["content-type"]) == (417, "application/problem+json")
    assert (answer.headers["x-correlation-id"], answer.json()["correlation_id"]) == ("flow-7", "flow-7")
    assert answer.headers["connection"] == "close"


async def test_what_is_refused_is_counted_by_reasons_that_no_sender_can_make_up(
    ingest: Replica,
) -> None:
    await ingest.send(post(target=b"/webhooks/orders#made-up-by-a-sender"))
    metrics = (await ingest.get("/metrics")).body.decode()
    assert 'sagahook_http_refused_total{reason="target"}' in metrics
    assert "made-up-by-a-sender" not in metrics


async def test_whoever_sends_too_often_is_told_how_long_to_wait(ingest: Replica) -> None:
    before = await ingest.records()
    answers = [await ingest.send(post(target=b"/webhooks/limited")) for _ in range(4)]
    assert [answer.status for answer in answers] == [202, 202, 429, 429]
    refused = answers[-1]
    assert refused.is_documented_error
    assert 1_700 < int(refused.headers["retry-after"]) <= 1_800
    assert refused.headers["ratelimit-policy"] == '"webhooks";q=2;w=3600'
    assert refused.headers["ratelimit"] == f'"webhooks";r=0;t={refused.headers["retry-after"]}'
    assert await ingest.records() == before + 2


async def test_a_forged_address_gets_no_bucket_of_its_own(ingest: Replica) -> None:
    forged = [
        (b"X-Forwarded-For: 192.0.2.%d" % number, b"Forwarded: for=192.0.2.%d" % number)
        for number in range(3)
    ]
    answers = [await ingest.send(post(b"{}", *headers, target=b"/webhooks/forged")) for headers in forged]
    assert [answer.status for answer in answers] == [202, 202, 429]


async def test_a_forged_address_is_not_an_allowed_one(ingest: Replica) -> None:
    forged = (b"X-Forwarded-For: 192.0.2.7", b"Forwarded: for=192.0.2.7", b"X-Real-IP: 192.0.2.7")
    answer = await ingest.send(post(b"{}", *forged, target=b"/webhooks/elsewhere"))
    assert answer.status == 403
    assert answer.is_documented_error


async def test_clients_of_a_trusted_proxy_are_told_apart(ingest: Replica) -> None:
    through = [
        post(b"{}", b"X-Forwarded-For: 192.0.2.%d" % client, target=b"/webhooks/proxied") for client in (1, 2)
    ]
    answers = [await ingest.send(through[client], by=PROXY) for client in (0, 0, 0, 1)]
    assert [answer.status for answer in answers] == [202, 202, 429, 202]


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (b"X-Forwarded-For: 192.0.2.7", 202),
        (b"X-Forwarded-For: 198.51.100.1, 192.0.2.7", 202),
        (b"X-Forwarded-For: 192.0.2.7, 198.51.100.1", 403),
        (b"X-Forwarded-For: 192.0.2.7, unknown", 403),
        (b"Forwarded: for=192.0.2.7", 403),
    ],
)
async def test_an_address_that_a_trusted_proxy_wrote_is_allowed_and_none_that_its_client_wrote(
    ingest: Replica, forwarded: bytes, status: int
) -> None:
    answer = await ingest.send(post(b"{}", forwarded, target=b"/webhooks/elsewhere"), by=PROXY)
    assert answer.status == status


SIGNATURES = {
    "none": (),
    "an empty one": (b"X-Hub-Signature-256:",),
    "one of another algorithm": (b"X-Hub-Signature: sha1=" + b"0" * 40,),
    "one that is wrong": (b"X-Hub-Signature-256: sha256=" + b"0" * 64,),
    "one that is too long": (b"X-Hub-Signature-256: sha256=" + b"0" * 20_000,),
    "one that is no hexadecimal": (b"X-Hub-Signature-256: sha256=" + b"g" * 64,),
    "one beyond ASCII": (b"X-Hub-Signature-256: sha256=" + b"\xff" * 64,),
    "two": (b"X-Hub-Signature-256: sha256=" + b"0" * 64, b"X-Hub-Signature-256: sha256=" + b"1" * 64),
}


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("body", [b'{"a": 1}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 50_000])
async def test_a_body_that_nobody_signed_is_not_even_read(
    ingest: Replica, signature: str, body: bytes
) -> None:
    before = await ingest.records()
    event = (b"X-GitHub-Event: push", b"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958")
    answer = await ingest.send(post(body, *event, *SIGNATURES[signature], target=b"/webhooks/github"))
    assert answer.status == 401
    assert answer.is_documented_error
    assert "ssss" not in answer.body.decode()
    assert await ingest.records() == before
