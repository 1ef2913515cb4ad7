"""One attempt against receivers that behave badly."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook_notifier.adapters.http_client import Timeouts
from sagahook_notifier.domain.policies import Answer, NoAnswer, NotSent, Unsendable
from tests.sender_harness import RawServer, delivery, sender, serving


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RawServer]:
    async with serving() as raw:
        yield raw


async def test_a_redirect_is_not_followed(server: RawServer) -> None:
    server.says(f"HTTP/1.1 307 Moved\r\nLocation: {server.url}x\r\nContent-Length: 0\r\n\r\n".encode())
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(307)
    assert len(server.requests) == 1


async def test_silence_ends_at_the_time_limit(server: RawServer) -> None:
    async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    server.behaviour = nothing
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == NoAnswer("no answer within 0.5 s")


async def test_a_status_counts_even_where_the_body_only_drips(server: RawServer) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    server.behaviour = drip
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(200)


async def test_of_a_huge_body_only_the_beginning_is_read(server: RawServer) -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    server.behaviour = flood
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(500)
    assert exchange.response_excerpt == "x" * 2048
    assert sent < 50_000_000


async def test_a_compressed_body_is_left_compressed(server: RawServer) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    server.says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(200)
    assert exchange.response_excerpt is not None
    assert "\0" not in exchange.response_excerpt


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the receiver closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nBad\0Header\r\n\r\n", "the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n", "the answer is not valid HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than that",
            "the answer is not valid HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk",
            "the answer is not valid HTTP",
        ),
    ],
)
async def test_what_is_no_answer_is_a_failure_that_says_why(
    server: RawServer, answer: bytes, error: str
) -> None:
    server.says(answer)
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert isinstance(exchange.said, NoAnswer)
    assert error in exchange.said.error
    assert "\0" not in exchange.said.error
    assert len(exchange.said.error) <= 500


async def test_a_refused_connection_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with sender() as opened:
        exchange = await opened.send(delivery(f"http://127.0.0.1:{port}/"))

    assert exchange.said == NoAnswer("no connection to 127.0.0.1: Connection refused")


async def test_a_name_that_does_not_exist_says_so() -> None:
    async with sender() as opened:
        exchange = await opened.send(delivery("http://no-such-host.invalid/"))

    assert isinstance(exchange.said, NoAnswer)
    assert "the host no-such-host.invalid cannot be resolved" in exchange.said.error


async def test_an_endpoints_headers_never_replace_ours(server: RawServer) -> None:
    server.says(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with sender() as opened:
        await opened.send(delivery(server.url, headers={"User-Agent": "x", "X-Own": "y"}))

    (request,) = server.requests
    assert b"User-Agent: sagahook/" in request
    assert b"X-Own: y" in request


async def test_proxies_of_the_environment_are_not_used(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.says(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(204)


async def test_nothing_is_sent_unsigned(server: RawServer) -> None:
    async with sender() as opened:
        unsigned = await opened.send(delivery(server.url, secret=None))
        malformed = await opened.send(delivery(server.url, secret="whsec_x"))

    assert isinstance(unsigned.said, NotSent)
    assert "the source 'orders' has no secret" in unsigned.said.error
    assert isinstance(malformed.said, Unsendable)
    assert server.connections == 0


async def test_a_connection_serves_many_attempts(server: RawServer) -> None:
    async def keep_answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await server.read_request(reader)

    server.behaviour = keep_answering
    async with sender() as opened:
        exchanges = [await opened.send(delivery(server.url)) for _ in range(3)]

    assert [exchange.said for exchange in exchanges] == [Answer(200)] * 3
    assert server.connections == 1
    assert exchanges[0].phases["connect"] > exchanges[1].phases["connect"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo short",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the connection ends",
        b"HTTP/1.0 200 OK\r\n\r\nold",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
)
async def test_a_status_counts_whatever_its_body_is_like_and_such_a_connection_serves_once(
    server: RawServer, answer: bytes
) -> None:
    server.says(answer)
    async with sender() as opened:
        first = await opened.send(delivery(server.url))
        second = await opened.send(delivery(server.url))

    assert first.said == second.said == Answer(200)
    assert server.connections == 2


async def test_a_head_that_drips_ends_at_the_time_limit(server: RawServer) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    server.behaviour = drip
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == NoAnswer("no answer within 0.5 s")


async def test_a_receiver_that_falls_silent_is_left_before_the_time_limit(server: RawServer) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200")
        await reader.read()

    server.behaviour = begin
    async with sender(timeouts=Timeouts(connect=1, silence=0.1, total=30)) as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == NoAnswer("the receiver was silent for 0.1 s")


async def test_a_receiver_that_takes_nothing_in_is_left_too(server: RawServer) -> None:
    stays = asyncio.Event()

    async def stay(*_: object) -> None:
        await stays.wait()

    server.takes, server.behaviour = False, stay
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url, body=b"x" * 20_000_000))
    stays.set()

    assert exchange.said == NoAnswer("no answer within 0.5 s")


async def test_a_reset_says_so(server: RawServer) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server.behaviour = reset
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == NoAnswer("the connection broke: Connection reset by peer")


async def test_trailers_without_end_are_not_kept(server: RawServer) -> None:
    async def trail(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        while True:
            writer.write(b"X: " + b"y" * 1_000 + b"\r\n")
            await writer.drain()

    server.behaviour = trail
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(200)
    assert len(exchange.response_headers) <= 32


async def test_a_receivers_retry_after_is_heard_and_its_cookies_are_not_kept(server: RawServer) -> None:
    server.says(
        b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\nSet-Cookie: a=b\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
    )
    async with sender() as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == Answer(503, retry_after="7")
    assert {name.lower() for name in exchange.response_headers} == {"retry-after", "server", "content-length"}
