"""One attempt over HTTP: signed, bounded in time and size, to public addresses only, logged without secrets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr
from yarl import URL

from sagahook import __version__
from sagahook.runtime.clock import Clock
from sagahook.runtime.sources import Sources
from sagahook_notifier.domain.addresses import forbidden
from sagahook_notifier.domain.deliveries import Claimed, Exchange
from sagahook_notifier.domain.endpoints import InvalidUrl, check_url
from sagahook_notifier.domain.policies import Answer, NoAnswer, Unsendable
from sagahook_notifier.domain.signing import InvalidSecret, signature_headers

USER_AGENT = f"sagahook/{__version__}"
REMOVED = "[removed]"

_READ_BYTES = 4096
"""The most that is read of an answer's body."""
_EXCERPT_CHARACTERS = 2048
"""Half of that is kept, so that a secret which the receiver echoes is never cut in two and missed."""
_ERROR_CHARACTERS = 500

_KEEP_ALIVE_SECONDS = 4.0
"""Shorter than common servers' five: a connection that the receiver just closed fails the attempt on it."""
_LOOKUPS = 32
"""Names that are resolved at once; the system's resolver blocks a thread for each, and a dead one for long."""


_UVLOOP_ERROR = RuntimeError
"""What uvloop raises in place of some OSErrors."""


class ForbiddenAddress(OSError):
    """The URL leads to an address that nothing may be sent to."""


@asynccontextmanager
async def open_sender(
    *, sources: Sources, clock: Clock, timeout: float, connect_timeout: float, allow_private: bool
) -> AsyncIterator[Sender]:
    """timeout, connect_timeout: seconds, of the whole attempt and of making the connection. allow_private: also
    send to addresses that are not public."""
    connector = aiohttp.TCPConnector(
        limit=0,  # the dispatcher bounds what is under way
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        resolver=_Resolver(),
        # Asked for each connection, with the very address that is to be connected to: neither a name that
        # resolves to another address by then, nor an address written in the URL, gets round it.
        socket_factory=None if allow_private else _public_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=connect_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # a proxy would connect in our place, unchecked
        auto_decompress=False,
        read_bufsize=2 * _READ_BYTES,
    ) as session:
        yield Sender(session, sources, clock)


class Sender:
    def __init__(self, session: aiohttp.ClientSession, sources: Sources, clock: Clock) -> None:
        self._session = session
        self._sources = sources
        self._clock = clock

    async def send(self, claimed: Claimed) -> Exchange:
        """Never raises for what a receiver or an endpoint's data does."""
        started_at, began = self._clock.now(), perf_counter()
        shown: dict[str, str] = {}
        excerpt: str | None = None
        secrets: list[str] = []
        said: Answer | NoAnswer | Unsendable | None = None
        try:
            check_url(claimed.url)
            signing = self._secrets(claimed)
            signed = signature_headers(signing, claimed.delivery_id, started_at, claimed.body)
            headers, shown = _headers(claimed, signed)
            secrets = [*signing, *signed["webhook-signature"].split(), *map(_revealed, claimed.headers.values())]
            async with self._session.post(
                URL(claimed.url, encoded=True), data=claimed.body, headers=headers, allow_redirects=False
            ) as response:
                said = Answer(response.status, response.headers.get("Retry-After"))
                excerpt = _presentable(await _beginning(response), secrets)[:_EXCERPT_CHARACTERS]
        except (InvalidSecret, InvalidUrl, aiohttp.InvalidURL) as wrong:
            said = Unsendable(f"nothing can be sent to the endpoint: {wrong}")
        except _Unsigned as unsigned:
            said = NoAnswer(str(unsigned))
        except (aiohttp.ClientError, OSError, ValueError, _UVLOOP_ERROR) as failed:
            # Once the status is there it counts, however the rest of the answer breaks off.
            said = said or NoAnswer(_presentable(self._describe(failed), secrets)[:_ERROR_CHARACTERS])
        duration_ms = (perf_counter() - began) * 1000
        return Exchange(said, started_at, duration_ms, shown, excerpt)

    def _secrets(self, claimed: Claimed) -> list[str]:
        if claimed.unsigned is not None:
            raise _Unsigned(f"nothing was sent, because nothing signs it: {claimed.unsigned}")
        if claimed.signing_source is None:
            return [secret.get_secret_value() for secret in claimed.secrets]
        source = self._sources.get(claimed.signing_source)
        if source is None or source.secret is None:
            raise _Unsigned(
                f"nothing was sent, because nothing signs it: the source {claimed.signing_source!r} has no secret "
                "in the configuration of sources"
            )
        return [source.secret.get_secret_value()]

    def _describe(self, failed: Exception) -> str:
        timeouts = self._session.timeout
        match failed:
            case aiohttp.ConnectionTimeoutError():
                said = f"no connection within {timeouts.sock_connect:g} s"
            case TimeoutError():
                said = f"no answer within {timeouts.total:g} s"
            case aiohttp.ClientConnectorDNSError():
                said = f"the host {failed.host} cannot be resolved: {failed.os_error.strerror}"
            case aiohttp.ClientConnectorError():
                said = f"no connection to {failed.host}: {_reason(failed.os_error)}"
            case aiohttp.ServerDisconnectedError():
                said = "the receiver closed the connection without an answer"
            case aiohttp.ClientResponseError():
                said = f"the answer is not valid HTTP: {failed.message}"
            case _:
                said = f"{type(failed).__name__}: {failed}"
        return said


def _reason(error: OSError) -> str:
    """In the system's words, without the address that asyncio adds."""
    return str(error) if error.errno is None else os.strerror(error.errno)


class _Unsigned(Exception):
    """Try again: the configuration may get the secret back."""


class _Resolver(AbstractResolver):
    """The system's resolver in threads of its own: a name that hangs holds up neither other names nor
    anything else that needs a thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
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


def _public_socket(wanted: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = wanted
    if reason := forbidden(address[0]):
        raise ForbiddenAddress(f"{reason}, and SAGAHOOK_NOTIFY_ALLOW_PRIVATE does not allow it")
    return socket.socket(family, kind, protocol)


def _headers(claimed: Claimed, signed: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What is sent, and what people may see of it. Ours come last: an endpoint's own never replace them."""
    ours = {
        "Content-Type": claimed.content_type,
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        **signed,
    }
    own = {name: _revealed(value) for name, value in claimed.headers.items()}
    shown = dict.fromkeys(own, REMOVED) | ours | {"webhook-signature": REMOVED}
    return own | ours, shown


def _revealed(value: SecretStr) -> str:
    return value.get_secret_value()


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The body's first bytes as text; the rest is not read."""
    body = bytearray()
    while len(body) < _READ_BYTES and (chunk := await response.content.read(_READ_BYTES - len(body))):
        body += chunk
    return body.decode(errors="replace")


def _presentable(text: str, secrets: Iterable[str]) -> str:
    """As it may be stored and shown: PostgreSQL takes no NUL, and nobody should see a secret."""
    for secret in filter(None, secrets):
        text = text.replace(secret, REMOVED)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
