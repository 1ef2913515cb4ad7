"""One attempt against receivers that behave badly, and addresses that nothing may be sent to. Raw sockets answer,
so that a connection is seen even where no request follows."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from sagahook.runtime.clock import SystemClock
from sagahook_notifier.adapters.sender import Sender, open_sender
from sagahook_notifier.domain.deliveries import Claimed
from sagahook_notifier.domain.policies import Answer, NoAnswer, RetryPolicy, Unsendable
from tests.notifier_harness import SECRET

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    behaviour: Behaviour | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if self.behaviour is not None:
                await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def says(self, answer: bytes) -> None:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()

        self.behaviour = say


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RawServer]:
    raw = RawServer()
    listening = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.port = listening.sockets[0].getsockname()[1]
    yield raw
    listening.close()


@asynccontextmanager
async def sender(allow_private: bool = True) -> AsyncIterator[Sender]:
    async with open_sender(
        sources={}, clock=SystemClock(), timeout=0.5, connect_timeout=0.4, allow_private=allow_private
    ) as opened:
        yield opened


def delivery(url: str, *, secret: str | None = SECRET, headers: dict[str, str] | None = None) -> Claimed:
    return Claimed(
        delivery_id="d-1",
        lease_token=uuid4(),
        endpoint_id="hook",
        event_id="e-1",
        event_type="task_completed",
        saga_id="s-1",
        run=1,
        correlation_id="c-1",
        body=b"{}",
        attempt=1,
        url=url,
        secret=SecretStr(secret) if secret else None,
        signing_source=None if secret else "orders",
        headers={name: SecretStr(value) for name, value in (headers or {}).items()},
        policy=RetryPolicy(()),
    )


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
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "the answer is not valid HTTP"),
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

    assert isinstance(unsigned.said, NoAnswer)
    assert "the source 'orders' has no secret" in unsigned.said.error
    assert isinstance(malformed.said, Unsendable)
    assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0.0.0.0",  # noqa: S104 nothing binds here
        "0",
        "[::]",
        "[fe80::1%25lo]",
        "127.0.0.1.",
    ],
)
async def test_no_connection_is_made_to_an_address_that_is_not_public(server: RawServer, host: str) -> None:
    async with sender(allow_private=False) as opened:
        exchange = await opened.send(delivery(f"http://{host}:{server.port}/"))

    assert isinstance(exchange.said, NoAnswer | Unsendable)
    assert server.connections == 0


async def test_the_refusal_of_an_address_says_what_to_do(server: RawServer) -> None:
    async with sender(allow_private=False) as opened:
        exchange = await opened.send(delivery(server.url))

    assert exchange.said == NoAnswer(
        "no connection to 127.0.0.1: 127.0.0.1 is not a public address, and "
        "SAGAHOOK_NOTIFY_ALLOW_PRIVATE does not allow it"
    )
