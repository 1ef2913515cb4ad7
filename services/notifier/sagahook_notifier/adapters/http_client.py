"""Posts to addresses that may be sent to, and to no other.

A name is resolved here, every address of it is checked, and the connection is made to a checked address itself:
there is no second look at the name that could find another one. TLS still asks for, and verifies, the name.
Addresses written in a URL are checked in the same way. No proxy, cookie, redirect or credential of the environment
plays a part.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sagahook_notifier.adapters.connections import Answered, Broken, Connection
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.urls import Destination

_KEEP_ALIVE_SECONDS = 4.0
"""Shorter than common servers' five: a connection that the receiver just closed fails the attempt on it."""
_MOST_IDLE = 1_024
"""Connections that wait for another request, in all."""
_SWEEP_SECONDS = 1.0
_LOOKUPS = 32
"""Names that are resolved at once; the system's resolver blocks a thread for each, and a dead one for long."""
_MOST_ADDRESSES = 4
"""Of one name, that a connection is tried with."""

_FAILED = (OSError, RuntimeError)
"""RuntimeError is what uvloop raises in place of some OSErrors."""


class ForbiddenAddress(Exception):
    """The URL leads to an address that nothing may be sent to. No connection was tried."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. connect: until there is a connection, with the look-up of the name and TLS. silence: between two signs
    of life from the receiver. total: of the whole attempt."""

    connect: float
    silence: float
    total: float


class Posted(NamedTuple):
    """connect_ms: 0 on a connection that was there already. first_byte_ms: from the request to the answer's
    beginning."""

    answered: Answered
    connect_ms: float
    first_byte_ms: float


_Site = tuple[str, int, bool]


class HttpClient:
    """Of one event loop. reach: see ForbiddenAddress. tls: what certificates are verified by."""

    def __init__(self, *, timeouts: Timeouts, reach: Reach, tls: ssl.SSLContext | None = None) -> None:
        self.timeouts = timeouts
        self._reach = reach
        self._tls = tls or ssl.create_default_context()
        self._loop = asyncio.get_running_loop()
        self._lookups = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolver")
        self._idle: dict[_Site, list[Connection]] = {}
        self._open: dict[Connection, _Site] = {}
        self._idle_count = 0
        self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._close_stale)

    async def post(self, to: Destination, request: bytes) -> Posted:
        """Raises ForbiddenAddress, and Broken where there was no answer."""
        began = self._loop.time()
        connection = self._kept(to) or await self._connect(to)
        connected = self._loop.time()
        timeouts = self.timeouts
        try:
            answered = await connection.exchange(
                request, deadline=began + timeouts.total, silence=timeouts.silence
            )
        except TimeoutError:
            if self._loop.time() < began + timeouts.total:
                raise Broken(f"the receiver was silent for {timeouts.silence:g} s") from None
            raise Broken(f"no answer within {timeouts.total:g} s") from None
        self._keep(connection)
        first = answered.first_byte or connected
        return Posted(answered, (connected - began) * 1000, (first - connected) * 1000)

    def close(self) -> None:
        self._sweep.cancel()
        for connection in list(self._open):
            connection.close()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    # Connections that wait

    def _kept(self, to: Destination) -> Connection | None:
        waiting = self._idle.get((to.host, to.port, to.secure))
        fresh = self._loop.time() - _KEEP_ALIVE_SECONDS
        while waiting:
            connection = waiting.pop()
            self._idle_count -= 1
            if connection.idle_since > fresh and connection.can_serve:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        site = self._open.get(connection)
        if site is None or not connection.is_open:
            return
        if self._idle_count >= _MOST_IDLE:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(site, []).append(connection)
        self._idle_count += 1

    def _lost(self, connection: Connection) -> None:
        site = self._open.pop(connection, None)
        waiting = self._idle.get(site, []) if site else []
        if connection in waiting:
            waiting.remove(connection)
            self._idle_count -= 1

    def _close_stale(self) -> None:
        stale = self._loop.time() - _KEEP_ALIVE_SECONDS
        for site, waiting in list(self._idle.items()):
            for connection in [one for one in waiting if one.idle_since <= stale]:
                waiting.remove(connection)
                self._idle_count -= 1
                connection.close()
            if not waiting:
                del self._idle[site]
        self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._close_stale)

    # New ones

    async def _connect(self, to: Destination) -> Connection:
        timeouts = self.timeouts
        seconds = min(timeouts.connect, timeouts.total)
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._addresses(to)
                if reason := self._reach.refusal(to.host, addresses):
                    raise ForbiddenAddress(
                        f"{reason}: if it is meant, allow it by SAGAHOOK_NOTIFY_ALLOW_NETWORKS or "
                        "SAGAHOOK_NOTIFY_ALLOW_HOSTS"
                    )
                return await self._connect_to_one(to, addresses, seconds / len(addresses))
        except TimeoutError:
            raise Broken(f"no connection within {seconds:g} s") from None
        except _FAILED as failed:
            raise Broken(_why(to, failed)) from None

    async def _addresses(self, to: Destination) -> list[str]:
        if to.is_address:
            return [to.host]
        look_up = partial(socket.getaddrinfo, to.host, to.port, type=socket.SOCK_STREAM)
        found = await self._loop.run_in_executor(self._lookups, look_up)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def _connect_to_one(self, to: Destination, addresses: list[str], share: float) -> Connection:
        """The first that answers; each of the others may take its share of the time."""
        *others, last = addresses[:_MOST_ADDRESSES]
        for address in others:
            try:
                async with asyncio.timeout(share):
                    return await self._open_connection(to, address)
            except _FAILED:  # TimeoutError too
                continue
        return await self._open_connection(to, last)

    async def _open_connection(self, to: Destination, address: str) -> Connection:
        _, connection = await self._loop.create_connection(
            partial(Connection, self._loop, self._lost),
            address,
            to.port,
            ssl=self._tls if to.secure else None,
            server_hostname=to.host if to.secure else None,
        )
        if connection.is_open:  # else it is lost already
            self._open[connection] = (to.host, to.port, to.secure)
        return connection


def _why(to: Destination, failed: Exception) -> str:
    """In the system's words, without the address that asyncio adds."""
    match failed:
        case socket.gaierror():
            return f"the host {to.host} cannot be resolved: {failed.strerror}"
        case ssl.SSLCertVerificationError():
            return (
                f"no secure connection to {to.host}: its certificate is not accepted: {failed.verify_message}"
            )
        case ssl.SSLError():
            return f"no secure connection to {to.host}: {failed.reason or failed}"
        case OSError() if failed.errno is not None:
            return f"no connection to {to.host}: {os.strerror(failed.errno)}"
        case _:
            return f"no connection to {to.host}: {failed or type(failed).__name__}"
