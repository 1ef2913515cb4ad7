"""A receiver on a raw socket, so that it can misbehave and a connection is seen even where no request follows; and the
sender that posts to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pydantic import SecretStr

from sagahook.runtime.clock import SystemClock
from sagahook_notifier.adapters.http_client import Timeouts
from sagahook_notifier.adapters.sender import Sender, open_sender
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.credentials import Credentials, Secret
from sagahook_notifier.domain.deliveries import Claimed, Target
from sagahook_notifier.domain.policies import RetryPolicy
from tests.notifier_harness import SECRET

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANYWHERE = Reach(everything=True)
SHORT = Timeouts(connect=0.4, silence=5, total=0.5)


@dataclass
class RawServer:
    """Serves one request on each connection, unless `behaviour` goes on by itself. takes: whether it reads them."""

    port: int = 0
    takes: bool = True
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    behaviour: Behaviour | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.takes:
                await self.read_request(reader)
            if self.behaviour is not None:
                await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))

    def says(self, answer: bytes) -> None:
        """And closes."""

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()

        self.behaviour = say


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    raw = RawServer()
    listening = await asyncio.start_server(raw.serve, host, 0, ssl=tls)
    raw.port = listening.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        listening.close()


@asynccontextmanager
async def sender(
    reach: Reach = ANYWHERE, timeouts: Timeouts = SHORT, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sender]:
    async with open_sender(
        sources={}, clock=SystemClock(), timeouts=timeouts, reach=reach, tls=tls
    ) as opened:
        yield opened


def delivery(
    url: str,
    *,
    secret: str | None = SECRET,
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
) -> Claimed:
    """secret None: the source signs, whose secret is missing."""
    secrets = (Secret(SecretStr(secret), NOW),) if secret else ()
    return Claimed(
        delivery_id="d-1",
        lease_token=uuid4(),
        leased_until=NOW + timedelta(seconds=45),
        target=Target(
            endpoint_id="hook",
            url=url,
            credentials=Credentials(
                secrets, {name: SecretStr(value) for name, value in (headers or {}).items()}
            ),
            signing_source=None if secret else "orders",
            unsigned=None,
            policy=RetryPolicy(()),
        ),
        event_id="e-1",
        event_type="task_completed",
        saga_id="s-1",
        run=1,
        correlation_id="c-1",
        body=body,
        content_type="application/json",
        attempt=1,
    )
