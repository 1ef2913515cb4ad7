"""Posts to addresses that may be sent to, and to no other.

A name is resolved here, every address of it is checked, and aiohttp connects to those very addresses: there is no
second look at the name that could find another one. An address in a URL, for which aiohttp asks no resolver, is
checked before aiohttp sees it. TLS asks for, and verifies, the name. No proxy, cookie, redirect or credential of
the environment plays a part, and nothing is unpacked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.urls import Destination

_KEPT_BYTES = 4 * 1024
"""Of an answer's body; the rest is thrown away."""
_READ_BYTES = 64 * 1024
"""Of an answer's body, so that the connection can serve again after a talkative answer; beyond it is closed."""
_KEEP_ALIVE_SECONDS = 4.0
"""Shorter than common servers' five: a connection that the receiver just closed fails the attempt on it."""
_LOOKUPS = 32
"""Names that are resolved at once; the system's resolver blocks a thread for each, and a dead one for long."""

_UVLOOP_ERROR = RuntimeError
"""What uvloop raises in place of some OSErrors."""


class ForbiddenAddress(Exception):
    """The URL leads to an address that nothing may be sent to. No connection was tried."""


class Broken(Exception):
    """There was no answer, and the text says why."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. connect: until there is a connection, with the look-up of the name and TLS. silence: between two signs
    of life from the receiver. total: of the whole attempt."""

    connect: float
    silence: float
    total: float


class Posted(NamedTuple):
    """body: its beginning. connect_ms: 0 on a connection that was there already. head_ms: from the connection to the
    end of the answer's head."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    connect_ms: float
    head_ms: float

    def header(self, name: str) -> str | None:
        """The first of that name, which is in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(slots=True)
class _Connecting:
    """By the loop's clock."""

    began: float = 0.0
    ended: float = 0.0


class HttpClient:
    """Of one event loop. reach: see ForbiddenAddress. tls: what certificates are verified by."""

    def __init__(self, *, timeouts: Timeouts, reach: Reach, tls: ssl.SSLContext | None = None) -> None:
        self._timeouts = timeouts
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the dispatcher bounds what is under way
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                resolver=_CheckedResolver(reach),
                use_dns_cache=False,
                ssl=tls or True,
            ),
            timeout=aiohttp.ClientTimeout(
                total=timeouts.total, connect=timeouts.connect, sock_read=timeouts.silence
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would connect in our place, unchecked
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            trace_configs=[_tracing(self._loop)],
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, to: Destination, headers: Mapping[str, str], body: bytes) -> Posted:
        """Raises ForbiddenAddress, and Broken where there was no answer."""
        if to.is_address:
            _check(self._reach, to.host, [to.host])
        began, connecting = self._loop.time(), _Connecting()
        try:
            async with self._session.post(
                URL(to.url, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=connecting,
            ) as response:
                headed = self._loop.time()
                connect = connecting.ended - connecting.began
                return Posted(
                    status=response.status,
                    headers=[
                        (name.decode("latin-1"), value.decode("latin-1"))
                        for name, value in response.raw_headers
                    ],
                    body=await _beginning(response),
                    connect_ms=connect * 1000,
                    head_ms=(headed - began - connect) * 1000,
                )
        except (aiohttp.ClientError, OSError, ValueError, _UVLOOP_ERROR) as failed:
            raise Broken(self._why(to, failed)) from None

    def _why(self, to: Destination, failed: Exception) -> str:
        """In the system's words, without the address that asyncio adds."""
        timeouts, host = self._timeouts, to.host
        match failed:
            case aiohttp.ConnectionTimeoutError():
                why = f"no connection within {timeouts.connect:g} s"
            case aiohttp.SocketTimeoutError():
                why = f"the receiver was silent for {timeouts.silence:g} s"
            case TimeoutError():
                why = f"no answer within {timeouts.total:g} s"
            case aiohttp.ClientConnectorDNSError():
                why = f"the host {host} cannot be resolved: {failed.os_error.strerror}"
            case aiohttp.ClientConnectorCertificateError():
                why = f"no secure connection to {host}: {_reason(failed.certificate_error)}"
            case aiohttp.ClientConnectorSSLError():
                why = f"no secure connection to {host}: {_reason(failed.os_error)}"
            case aiohttp.ClientConnectorError():
                why = f"no connection to {host}: {_reason(failed.os_error)}"
            case aiohttp.ServerDisconnectedError():
                why = "the receiver closed the connection without an answer"
            case aiohttp.ClientResponseError():
                why = f"the answer is not valid HTTP: {failed.message.partition(':')[0]}"
            case _:
                why = f"the connection broke: {_reason(failed)}"
        return why


class _CheckedResolver(AbstractResolver):
    """The system's resolver in threads of its own: a name that hangs holds up neither other names nor
    anything else that needs a thread."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        _check(self._reach, host, [str(address[0]) for *_, address in found])
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _check(reach: Reach, host: str, addresses: Sequence[str]) -> None:
    if reason := reach.refusal(host, addresses):
        raise ForbiddenAddress(
            f"{reason}: if it is meant, allow it by SAGAHOOK_NOTIFY_ALLOW_NETWORKS or SAGAHOOK_NOTIFY_ALLOW_HOSTS"
        )


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Of the body, and no more. Once the status is there it counts, however the rest of the answer breaks off."""
    body, read = bytearray(), 0
    with suppress(aiohttp.ClientError, OSError, ValueError, _UVLOOP_ERROR):
        while read <= _READ_BYTES and (chunk := await response.content.readany()):
            read += len(chunk)
            body += chunk[: _KEPT_BYTES - len(body)]
    if not response.content.at_eof():
        response.close()
    return bytes(body)


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return error.reason or str(error)
        case OSError() if error.errno is not None:
            return os.strerror(error.errno)
        case _:
            return str(error) or type(error).__name__


def _tracing(loop: asyncio.AbstractEventLoop) -> aiohttp.TraceConfig:
    async def begin(session: object, context: Any, parameters: object) -> None:
        context.trace_request_ctx.began = loop.time()

    async def end(session: object, context: Any, parameters: object) -> None:
        context.trace_request_ctx.ended = loop.time()

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_start.append(begin)
    tracing.on_connection_create_end.append(end)
    return tracing
