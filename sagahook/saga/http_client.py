"""One HTTP exchange of a step: pooled, bounded in time and size, behind the host's circuit breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from sagahook.saga.breaker import Circuits, Outcome, Refusal
from sagahook.saga.errors import PermanentError, RetryLater, UnknownOutcomeError
from sagahook.saga.http_answers import (
    CircuitOpen,
    HttpAnswer,
    HttpNotApplied,
    HttpUnexpected,
    HttpUnknownOutcome,
    is_expected,
    is_sick,
)
from sagahook.saga.http_bodies import Call, failure_of, read_answer
from sagahook.saga.http_settings import HttpSettings
from sagahook.saga.metrics import CIRCUITS, note_github
from sagahook_schemas.base import JsonValue

_CONNECT_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 4.0
"""Shorter than common servers' five: a connection that the server just closed fails the call on it."""


_TRANSPORT = (aiohttp.ClientError, OSError, RuntimeError, ValueError)
"""RuntimeError is what uvloop raises in place of some OSErrors, ValueError what a resolver does for some names."""


@dataclass(slots=True)
class _Progress:
    """How far a request got. queued: it waits for a free connection. sent: its first byte may have left. status: of the
    answer. broken: it ended without a whole answer."""

    queued: bool = False
    sent: bool = False
    status: int | None = None
    broken: bool = False


class HttpClient:
    """The connections and circuits of one event loop. clock: seconds that only go forward."""

    def __init__(self, settings: HttpSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._circuits = Circuits()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the runner bounds what runs at once
                limit_per_host=settings.http_connections_per_host,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # what is small on the way may be huge when it is unpacked
            trace_configs=[_tracing()],
        )

    @property
    def closed(self) -> bool:
        return self._session.closed

    @property
    def left_alone(self) -> set[str]:
        """The hosts that it sends nothing to for now."""
        return self._circuits.left_alone()

    async def close(self) -> None:
        await self._session.close()

    async def send(self, call: Call) -> tuple[HttpAnswer, JsonValue]:
        """The answer, and its body as a step's result: as JSON where it is JSON, else as text. Raises the errors of
        http_answers, and what `expect` raises."""
        progress = _Progress()
        deadline = asyncio.timeout(call.seconds)
        async with self._circuit(call, progress):
            try:
                async with deadline:
                    return await self._exchange(call, progress)
            except (PermanentError, UnknownOutcomeError, RetryLater):
                raise
            except _TRANSPORT as broken:
                progress.broken = True
                # Its own text may hold the whole URL, and so may that of its causes.
                raise _broken(call, broken, progress, late=deadline.expired()) from None

    async def _exchange(self, call: Call, progress: _Progress) -> tuple[HttpAnswer, JsonValue]:
        async with self._session.request(
            call.method,
            call.url,
            headers=call.headers,
            data=call.body,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.status = response.status
            note_github(response.status, response.headers)
            if not callable(call.expect):
                if not is_expected(call.expect, HttpAnswer(response.status), call.shown):
                    raise await failure_of(call, response)
                if not call.wants_result:
                    return HttpAnswer(response.status), None
                return await read_answer(call, response)
            try:
                answer, result = await read_answer(call, response)
            except (HttpUnexpected, HttpUnknownOutcome):
                if 200 <= response.status < 300:
                    raise
                answer, result = HttpAnswer(response.status), None  # its status says enough
            if not is_expected(call.expect, answer, call.shown):
                raise await failure_of(call, response, answer)
            return answer, result

    @asynccontextmanager
    async def _circuit(self, call: Call, progress: _Progress) -> AsyncIterator[None]:
        """Refuses the call where the host's circuit is open, and tells the circuit how it went. Raises CircuitOpen."""
        if call.breaker is None:
            yield
            return
        host = str(call.url.origin())
        ticket = self._circuits.admit(host, call.breaker, self._clock(), call.seconds)
        if isinstance(ticket, Refusal):
            # A probe that hangs is no reason for the others to wait longer than for an open circuit.
            raise _refused(call, ticket, min(ticket.seconds, call.breaker.open_seconds))
        outcome: Outcome = "dropped"
        try:
            yield
            outcome = "succeeded"
        except Exception:
            outcome = _speaks(progress)
            raise
        finally:
            self._circuits.settle(host, call.breaker, ticket, outcome, self._clock())


_clients: dict[asyncio.AbstractEventLoop, HttpClient] = {}


def client(clock: Callable[[], float] | None = None) -> HttpClient:
    """The running loop's; the first call makes it. clock: the loop's own by default. Raises pydantic's ValidationError
    where the environment is wrong."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None or found.closed:
        found = _clients[loop] = HttpClient(HttpSettings(), clock or loop.time)
        for other in [one for one in _clients if one.is_closed()]:
            del _clients[other]
    return found


async def close_sessions() -> None:
    """Close the running loop's connections, where there are any. A later call opens new ones."""
    found = _clients.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


def _left_alone() -> set[str]:
    return {host for client in list(_clients.values()) for host in client.left_alone}


CIRCUITS.hosts = _left_alone


def _tracing() -> aiohttp.TraceConfig:
    async def queued(session: object, context: Any, parameters: object) -> None:
        context.trace_request_ctx.queued = True

    async def unqueued(session: object, context: Any, parameters: object) -> None:
        context.trace_request_ctx.queued = False

    async def sent(session: object, context: Any, parameters: object) -> None:
        context.trace_request_ctx.sent = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_queued_start.append(queued)
    tracing.on_connection_queued_end.append(unqueued)
    tracing.on_request_headers_sent.append(sent)
    return tracing


def _speaks(progress: _Progress) -> Outcome:
    """What the end of a call that failed says about the host."""
    if progress.queued or (progress.status is None and not progress.broken):
        return "dropped"
    return "failed" if progress.broken or is_sick(progress.status or 0) else "succeeded"


def _refused(call: Call, refusal: Refusal, seconds: float) -> CircuitOpen:
    why = "one call tries whether it answers again" if refusal.probing else "its circuit is open"
    return CircuitOpen(
        f"{call.shown} was not sent: the host kept failing, and {why}; tried again in {seconds:.1f} s",
        seconds,
    )


def _broken(call: Call, broken: Exception, progress: _Progress, *, late: bool) -> Exception:
    """The error for an exchange without a whole answer."""
    if progress.queued:
        return HttpNotApplied(
            f"{call.shown} was not sent: no connection to the host became free within {call.seconds:g} s; "
            "raise SAGAHOOK_HTTP_CONNECTIONS_PER_HOST if it can take more"
        )
    if late:
        how = f"no whole answer within {call.seconds:g} s" if progress.sent else "no connection in time"
    else:
        how = _reason(broken)
    if progress.sent:
        return HttpUnknownOutcome(
            f"{call.shown}: {how}: it may have been carried out, and is tried again under the same key"
        )
    return HttpNotApplied(f"{call.shown} was not sent: {how}; tried again")


def _reason(broken: Exception) -> str:
    """In words that hold neither the URL nor anything that the host sent."""
    if isinstance(broken, aiohttp.ClientConnectorError) and type(broken) is aiohttp.ClientConnectorError:
        return f"no connection ({broken.os_error.strerror or type(broken.os_error).__name__})"
    for kind, words in _REASONS.items():
        if isinstance(broken, kind):
            return words
    return f"the connection broke ({type(broken).__name__})"


_REASONS: dict[type[Exception], str] = {
    aiohttp.ConnectionTimeoutError: f"no connection within {_CONNECT_SECONDS:g} s",
    aiohttp.ClientConnectorDNSError: "the host's name cannot be resolved",
    aiohttp.ClientConnectorCertificateError: "no secure connection: the host's certificate is not accepted",
    aiohttp.ClientSSLError: "no secure connection: the host's TLS is not accepted",
    aiohttp.ServerDisconnectedError: "the connection was closed without an answer",
    aiohttp.ClientPayloadError: "the connection was closed within the answer",
    aiohttp.ClientResponseError: "the answer is not valid HTTP",
}
