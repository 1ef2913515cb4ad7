"""ingest, as its own process on a real log, under what hostile, broken and merely odd clients send over raw sockets."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from tests.hostile_bodies import BODIES, CHUNKED, ENCODINGS, LENGTHS, SLOW, SMUGGLED
from tests.hostile_case import BODY_LIMIT, GOOD, Case, chunked, framed, post
from tests.hostile_client import Answer, Connection, Exchange, connected, exchange
from tests.hostile_heads import HEADERS, REQUEST_LINES, SOURCE_NAMES, TARGETS
from tests.ingest_harness import PARTITIONS
from tests.ingest_process import IngestProcess, ingest_process

CASES: dict[str, Case] = {
    **REQUEST_LINES,
    **TARGETS,
    **SOURCE_NAMES,
    **HEADERS,
    **LENGTHS,
    **SMUGGLED,
    **CHUNKED,
    **ENCODINGS,
    **BODIES,
}

SECONDS = 2
"""What the replica allows for a head, a body, and between two requests."""

DRIP = 0.1

SOURCES = {
    "orders": {"rate_limit": "none"},
    "limited": {"rate_limit": "2/h"},
    "forged": {"rate_limit": "2/h"},
    "elsewhere": {"allowed_ips": ["192.0.2.0/24"]},
    "github": {"scheme": "github", "secrets": ["env:HOSTILE_SECRET"], "rate_limit": "none"},
    "slack": {"scheme": "slack", "secrets": ["env:HOSTILE_SECRET"]},
}


class LogEnd:
    """How many records `webhooks.received` of one deployment holds."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    async def size(self) -> int:
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return sum(ends.values())


@pytest_asyncio.fixture(scope="module")
async def prefix(kafka_bootstrap: str) -> str:
    made = f"t-{uuid.uuid4().hex[:12]}"
    await ensure_topics(kafka_bootstrap, made, PARTITIONS)
    return made


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, prefix: str) -> AsyncIterator[LogEnd]:
    async with AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap) as consumer:
        yield LogEnd(consumer, WEBHOOKS_RECEIVED.name(prefix))


@pytest_asyncio.fixture(scope="module")
async def ingest(
    kafka_bootstrap: str, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestProcess]:
    environment = {
        "SAGAHOOK_SOURCES": json.dumps(SOURCES),
        "SAGAHOOK_BODY_LIMIT": str(BODY_LIMIT),
        "SAGAHOOK_HTTP_HEADER_SECONDS": str(SECONDS),
        "SAGAHOOK_HTTP_BODY_SECONDS": str(SECONDS),
        "SAGAHOOK_HTTP_IDLE_SECONDS": str(SECONDS),
        "HOSTILE_SECRET": "s" * 32,
    }
    log: Path = tmp_path_factory.mktemp("hostile") / "ingest.log"
    async with ingest_process(kafka_bootstrap, prefix, log, **environment) as process:
        yield process
    assert "Traceback" not in await asyncio.to_thread(log.read_text)


async def ask(ingest: IngestProcess, case: Case, pause: float = 0.0) -> Exchange:
    return await exchange(
        ingest.port.number,
        case.sends,
        expected=len(case.answers),
        closes=case.closes,
        half_close=case.half_close,
        pause=pause,
    )


async def send(ingest: IngestProcess, request: bytes) -> Answer:
    """One request on a connection of its own."""
    async with connected(ingest.port.number) as connection:
        await connection.send(request)
        answer = await connection.answer()
        assert answer is not None
        return answer


def assert_as_expected(case: Case, came: Exchange) -> None:
    assert came.statuses == case.answers
    assert came.closed == case.closes
    assert not came.more
    for answer in came.answers:
        assert answer.status < 400 or answer.is_documented_error
    if came.answers:
        assert came.answers[-1].headers.items() >= case.headers.items()


@pytest.mark.parametrize("name", CASES)
async def test_each_gets_its_answer_and_what_was_accepted_alone_is_in_the_log(
    ingest: IngestProcess, log: LogEnd, name: str
) -> None:
    case = CASES[name]
    before = await log.size()
    assert_as_expected(case, await ask(ingest, case))
    assert (await send(ingest, GOOD)).status == 202
    assert await log.size() == before + case.answers.count(202) + 1


@pytest_asyncio.fixture(scope="module")
async def slow(ingest: IngestProcess) -> dict[str, Exchange]:
    """What came of the slow ones, all at the same time."""
    came = await asyncio.gather(*(ask(ingest, case, DRIP) for case in SLOW.values()))
    return dict(zip(SLOW, came, strict=True))


@pytest.mark.parametrize("name", SLOW)
async def test_what_does_not_come_in_time_is_cut(slow: dict[str, Exchange], name: str) -> None:
    assert_as_expected(SLOW[name], slow[name])


async def test_a_thousand_slow_clients_keep_nobody_from_being_served(
    ingest: IngestProcess, log: LogEnd
) -> None:
    before = await log.size()
    openings = (
        b"",
        b"POST /webhooks/orders HTTP/1.1\r\nX-",
        framed(b"{", b"Content-Length: 9"),
        chunked(b"2\r\n{"),
    )
    ends: dict[bytes, list[bytes]] = {opening: [] for opening in openings}

    async def be_slow(opening: bytes) -> None:
        async with connected(ingest.port.number) as connection:
            if opening:
                await connection.send(opening)
            opened.release()
            ends[opening].append(await connection.rest())

    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as clients:
        for opening in openings:
            for _ in range(250):
                clients.create_task(be_slow(opening))
        for _ in range(1_000):
            await opened.acquire()
        async with connected(ingest.port.number) as connection:
            for _ in range(100):
                await connection.send(GOOD)
                answer = await connection.answer()
                assert answer is not None
                assert answer.status == 202
        probes = [await send(ingest, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(10)]
        assert {probe.status for probe in probes} == {200}
    assert {end.split(b" ")[1] for opening in openings[1:] for end in ends[opening]} == {b"408"}
    assert set(ends[b""]) == {b""}
    assert await log.size() == before + 100


async def test_a_client_that_never_reads_its_answers_is_let_go(ingest: IngestProcess) -> None:
    async def ask_on_and_on(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", ingest.port.number))
    _, writer = await asyncio.open_connection(sock=narrow)
    async with asyncio.timeout(60):
        with pytest.raises(ConnectionError):
            await ask_on_and_on(writer)
    assert (await send(ingest, GOOD)).status == 202


async def test_a_refused_request_is_told_its_correlation_id_and_in_problem_details_where_asked(
    ingest: IngestProcess,
) -> None:
    given = (b"X-Correlation-ID: flow-7", b"Accept: application/problem+json", b"Expect: nothing")
    answer = await send(ingest, post(b"{}", *given))
    assert (answer.status, answer.headers["content-type"]) == (417, "application/problem+json")
    assert (answer.headers["x-correlation-id"], answer.json()["correlation_id"]) == ("flow-7", "flow-7")
    assert answer.headers["connection"] == "close"


async def test_what_is_refused_is_counted_by_reasons_that_no_sender_can_make_up(
    ingest: IngestProcess,
) -> None:
    await send(ingest, post(target=b"/webhooks/orders#made-up-by-a-sender"))
    metrics = (await send(ingest, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).body.decode()
    assert 'http_refused_total{reason="target"}' in metrics
    assert "made-up-by-a-sender" not in metrics


async def test_whoever_sends_too_often_is_told_how_long_to_wait(ingest: IngestProcess, log: LogEnd) -> None:
    before = await log.size()
    answers = [await send(ingest, post(target=b"/webhooks/limited")) for _ in range(4)]
    assert [answer.status for answer in answers] == [202, 202, 429, 429]
    refused = answers[-1]
    assert refused.is_documented_error
    assert 1_700 < int(refused.headers["retry-after"]) <= 1_800
    assert refused.headers["ratelimit-policy"] == '"webhooks";q=2;w=3600'
    assert refused.headers["ratelimit"] == f'"webhooks";r=0;t={refused.headers["retry-after"]}'
    assert await log.size() == before + 2


async def test_a_forged_address_gets_no_bucket_of_its_own(ingest: IngestProcess) -> None:
    forged = [
        (b"X-Forwarded-For: 192.0.2.%d" % number, b"Forwarded: for=192.0.2.%d" % number)
        for number in range(3)
    ]
    answers = [await send(ingest, post(b"{}", *headers, target=b"/webhooks/forged")) for headers in forged]
    assert [answer.status for answer in answers] == [202, 202, 429]


async def test_a_forged_address_is_not_an_allowed_one(ingest: IngestProcess) -> None:
    forged = (b"X-Forwarded-For: 192.0.2.7", b"Forwarded: for=192.0.2.7", b"X-Real-IP: 192.0.2.7")
    answer = await send(ingest, post(b"{}", *forged, target=b"/webhooks/elsewhere"))
    assert answer.status == 403
    assert answer.is_documented_error


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
    ingest: IngestProcess, log: LogEnd, signature: str, body: bytes
) -> None:
    before = await log.size()
    event = (b"X-GitHub-Event: push", b"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958")
    answer = await send(ingest, post(body, *event, *SIGNATURES[signature], target=b"/webhooks/github"))
    assert answer.status == 401
    assert answer.is_documented_error
    assert "ssss" not in answer.body.decode()
    assert await log.size() == before


async def test_connections_come_and_go_and_the_replica_is_as_it_was(ingest: IngestProcess) -> None:
    """After all of it, no connection is left over, and the probes are well."""

    async def open_connections(connection: Connection) -> int:
        await connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await connection.answer()
        assert answer is not None
        lines = answer.body.decode().splitlines()
        return next(int(float(line.split()[1])) for line in lines if line.startswith("http_connections "))

    async with asyncio.timeout(20), connected(ingest.port.number) as connection:
        while await open_connections(connection) > 1:
            await asyncio.sleep(0.2)
    for probe in (b"livez", b"readyz", b"health"):
        assert (await send(ingest, b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % probe)).status == 200
