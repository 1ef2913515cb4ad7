"""ingest, as its own process on a real log, under what hostile, broken and merely odd clients send over raw sockets."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.hostile_bodies import BODIES, CHUNKED, ENCODINGS, LENGTHS, SLOW, SMUGGLED
from tests.hostile_case import GOOD, Case, chunked, framed
from tests.hostile_chance import requests_in, spoiled
from tests.hostile_client import Connection, Exchange, connected
from tests.hostile_heads import HEADERS, REQUEST_LINES, SOURCE_NAMES, TARGETS
from tests.hostile_replica import Replica, replica

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

DRIP = 0.1
"""Seconds between the pieces of what comes slowly."""


@pytest_asyncio.fixture(scope="module")
async def ingest(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replica]:
    async with replica(kafka_bootstrap, tmp_path_factory.mktemp("hostile") / "ingest.log") as process:
        yield process


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
    ingest: Replica, name: str
) -> None:
    case = CASES[name]
    before = await ingest.records()
    assert_as_expected(case, await ingest.ask(case))
    assert (await ingest.send(GOOD)).status == 202
    assert await ingest.records() == before + case.answers.count(202) + 1


@pytest_asyncio.fixture(scope="module")
async def slow(ingest: Replica) -> dict[str, Exchange]:
    """What came of the slow ones, all at the same time."""
    came = await asyncio.gather(*(ingest.ask(case, DRIP) for case in SLOW.values()))
    return dict(zip(SLOW, came, strict=True))


@pytest.mark.parametrize("name", SLOW)
async def test_what_does_not_come_in_time_is_cut(slow: dict[str, Exchange], name: str) -> None:
    assert_as_expected(SLOW[name], slow[name])


async def test_a_thousand_slow_clients_keep_nobody_from_being_served(ingest: Replica) -> None:
    before = await ingest.records()
    openings = (
        b"",
        b"POST /webhooks/orders HTTP/1.1\r\nX-",
        framed(b"{", b"Content-Length: 9"),
        chunked(b"2\r\n{"),
    )
    ends: dict[bytes, list[bytes]] = {opening: [] for opening in openings}

    async def be_slow(opening: bytes) -> None:
        async with connected(ingest.port) as connection:
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
        async with connected(ingest.port) as connection:
            for _ in range(100):
                await connection.send(GOOD)
                answer = await connection.answer()
                assert answer is not None
                assert answer.status == 202
        probes = [await ingest.get("/livez") for _ in range(10)]
        assert {probe.status for probe in probes} == {200}
    assert {end.split(b" ")[1] for opening in openings[1:] for end in ends[opening]} == {b"408"}
    assert set(ends[b""]) == {b""}
    assert await ingest.records() == before + 100


async def test_a_client_that_never_reads_its_answers_is_let_go(ingest: Replica) -> None:
    async def ask_on_and_on(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", ingest.port))
    _, writer = await asyncio.open_connection(sock=narrow)
    async with asyncio.timeout(60):
        with pytest.raises(ConnectionError):
            await ask_on_and_on(writer)
    assert (await ingest.send(GOOD)).status == 202


async def test_what_is_taken_of_spoiled_requests_another_parser_takes_too_and_the_log_has_that_much(
    ingest: Replica,
) -> None:
    before = await ingest.records()
    dice = random.Random(5)
    texts = [spoiled(dice) for _ in range(1_500)]
    few = asyncio.Semaphore(50)

    async def accepted_of(text: bytes) -> int:
        async with few, connected(ingest.port) as connection:
            await connection.send(text)
            connection.say_no_more()
            return (await connection.rest()).count(b"HTTP/1.1 202 ")

    accepted = await asyncio.gather(*(accepted_of(text) for text in texts))
    more = [text for text, taken in zip(texts, accepted, strict=True) if taken > requests_in(text)]
    assert not more
    assert sum(accepted) > 500
    assert await ingest.records() == before + sum(accepted)


async def test_connections_come_and_go_and_the_replica_is_as_it_was(ingest: Replica) -> None:
    """After all of it, no connection is left over, and the probes are well."""

    async def open_connections(connection: Connection) -> int:
        await connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await connection.answer()
        assert answer is not None
        lines = answer.body.decode().splitlines()
        return next(
            int(float(line.split()[1])) for line in lines if line.startswith("sagahook_http_connections ")
        )

    async with asyncio.timeout(20), connected(ingest.port) as connection:
        while await open_connections(connection) > 1:
            await asyncio.sleep(0.2)
    for probe in (b"livez", b"readyz", b"health"):
        assert (await ingest.send(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % probe)).status == 200
