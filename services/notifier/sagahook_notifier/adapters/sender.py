"""One attempt over HTTP: signed, bounded in time and size, to addresses that may be sent to, logged without secrets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

from pydantic import SecretStr

from sagahook import __version__
from sagahook.runtime.clock import Clock
from sagahook.runtime.sources import Sources
from sagahook_notifier.adapters.http_client import Broken, ForbiddenAddress, HttpClient, Posted, Timeouts
from sagahook_notifier.adapters.tracing import attempt_span, say_what_came
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.deliveries import Claimed, Exchange, Target
from sagahook_notifier.domain.policies import Answer, NoAnswer, NotSent, Said, Unsendable
from sagahook_notifier.domain.signing import InvalidSecret, signature_headers
from sagahook_notifier.domain.urls import Destination, InvalidUrl, destination

USER_AGENT = f"sagahook/{__version__}"
REMOVED = "[removed]"

_EXCERPT_CHARACTERS = 2048
"""Half of what is kept of a body, so that a secret which the receiver echoes is never cut in two and missed."""
_SHOWN_HEADERS, _SHOWN_CHARACTERS = 32, 256
"""Of an answer, and of each of them."""
_PREPARED = 10_000

_CONSTANT = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}


@asynccontextmanager
async def open_sender(
    *, sources: Sources, clock: Clock, timeouts: Timeouts, reach: Reach, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sender]:
    """reach: the addresses that may be sent to. tls: by what receivers' certificates are verified, in place of the
    system's authorities."""
    client = HttpClient(timeouts=timeouts, reach=reach, tls=tls)
    try:
        yield Sender(client, sources, clock)
    finally:
        await client.close()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all requests to a target have in common. shown: its headers as people may see them."""

    target: Target
    to: Destination
    headers: Mapping[str, str]
    shown: Mapping[str, str]
    secrets: tuple[str, ...]


class Sender:
    def __init__(self, client: HttpClient, sources: Sources, clock: Clock) -> None:
        self._client = client
        self._sources = sources
        self._clock = clock
        self._prepared: dict[str, _Prepared] = {}

    async def send(self, claimed: Claimed) -> Exchange:
        """Never raises for what a receiver or an endpoint's data does."""
        span = attempt_span(claimed)
        if span is None:
            return await self._send(claimed, claimed.traceparent)
        try:
            exchange = await self._send(claimed, span.traceparent)
            say_what_came(span, exchange)
            return exchange
        finally:
            span.end()

    async def _send(self, claimed: Claimed, traceparent: str) -> Exchange:
        started_at, began = self._clock.now(), perf_counter()
        shown: Mapping[str, str] = {}
        posted: Posted | None = None
        said: Said
        secrets: list[str] = []
        try:
            prepared = self._prepare(claimed.target)
            signing = self._signing(claimed.target, started_at)
            signed = signature_headers(signing, claimed.delivery_id, started_at, claimed.body)
            ours = {"Content-Type": claimed.content_type, **signed}
            if traceparent:
                ours["traceparent"] = traceparent
            shown = {**prepared.shown, **ours, "webhook-signature": REMOVED}
            secrets = [*signing, *signed["webhook-signature"].split(), *prepared.secrets]
            posted = await self._client.post(prepared.to, {**prepared.headers, **ours}, claimed.body)
            said = Answer(posted.status, posted.header("retry-after"))
        except (InvalidSecret, InvalidUrl) as wrong:
            said = Unsendable(f"nothing can be sent to the endpoint: {wrong}")
        except _Unsigned as unsigned:
            said = NotSent(f"nothing was sent, because nothing signs it: {unsigned}")
        except (ForbiddenAddress, Broken) as failed:
            said = NoAnswer(str(failed))
        return _exchange(said, started_at, (perf_counter() - began) * 1000, shown, posted, secrets)

    def _prepare(self, target: Target) -> _Prepared:
        """Raises InvalidUrl."""
        known = self._prepared.get(target.endpoint_id)
        if known is not None and known.target is target:
            return known
        if len(self._prepared) >= _PREPARED:
            self._prepared.clear()
        self._prepared[target.endpoint_id] = made = _prepared(target)
        return made

    def _signing(self, target: Target, at: datetime) -> list[str]:
        if target.unsigned is not None:
            raise _Unsigned(target.unsigned)
        if target.signing_source is None:
            return [secret.get_secret_value() for secret in target.credentials.secrets_at(at)]
        source = self._sources.get(target.signing_source)
        if source is None or source.secret is None:
            raise _Unsigned(
                f"the source {target.signing_source!r} has no secret in the configuration of sources"
            )
        return [source.secret.get_secret_value()]


class _Unsigned(Exception):
    """Try again: the configuration may get the secret back."""


def _prepared(target: Target) -> _Prepared:
    to = destination(target.url)
    # Ours stand alone: an endpoint's own header never comes beside or in place of one.
    taken = {name.lower() for name in (*_CONSTANT, "host", "content-type", "content-length", "traceparent")}
    own = {
        name: value
        for name, value in target.credentials.headers.items()
        if name.lower() not in taken and not name.lower().startswith("webhook-")
    }
    return _Prepared(
        target=target,
        to=to,
        headers={**{name: _revealed(value) for name, value in own.items()}, **_CONSTANT},
        shown={**dict.fromkeys(own, REMOVED), **_CONSTANT},
        secrets=tuple(filter(None, map(_revealed, own.values()))),
    )


def _revealed(value: SecretStr) -> str:
    return value.get_secret_value()


def _exchange(
    said: Said,
    started_at: datetime,
    duration_ms: float,
    shown: Mapping[str, str],
    posted: Posted | None,
    secrets: list[str],
) -> Exchange:
    if posted is None:
        return Exchange(said, started_at, duration_ms, shown)
    body = posted.body.decode(errors="replace")
    return Exchange(
        said,
        started_at,
        duration_ms,
        request_headers=shown,
        response_headers=_shown_headers(posted, secrets),
        response_excerpt=_presentable(body, secrets)[:_EXCERPT_CHARACTERS],
        phases={"connect": round(posted.connect_ms, 2), "head": round(posted.head_ms, 2)},
    )


def _shown_headers(posted: Posted, secrets: list[str]) -> dict[str, str]:
    return {
        str(name): _presentable(value, secrets)[:_SHOWN_CHARACTERS]
        for name, value in posted.headers[:_SHOWN_HEADERS]
        if name.lower() != "set-cookie"
    }


def _presentable(text: str, secrets: Iterable[str]) -> str:
    """As it may be stored and shown: PostgreSQL takes no NUL, and nobody should see a secret."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, REMOVED)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
