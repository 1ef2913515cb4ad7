"""Webhooks over HTTP, several at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from sagahook import __version__
from sagahook.cli.sagas_client import NotDone, escaped

_SECONDS = 30.0
"""For each answer."""
_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class Answer:
    """status None: there was none. error: why it was not accepted. retry_after: seconds, as the server said them."""

    status: int | None
    seconds: float
    correlation_id: str | None = None
    event_id: str | None = None
    error: str | None = None
    retry_after: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "accepted": self.accepted, "seconds": round(self.seconds, 4)}


async def post_all(
    url: str, source: str, body: bytes, headers: Callable[[], Mapping[str, str]], times: int, at_once: int
) -> AsyncIterator[Answer]:
    """The answers as they come. headers: made for each request. Raises NotDone."""
    target = _target(url, source)
    waiting = iter(range(times))
    answers: asyncio.Queue[Answer | Exception] = asyncio.Queue()

    async def work(session: aiohttp.ClientSession) -> None:
        try:
            for _ in waiting:
                answers.put_nowait(await _post(session, target, body, headers()))
        except Exception as failed:
            answers.put_nowait(failed)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        headers={"User-Agent": f"sagahook/{__version__}"},
        skip_auto_headers=("Content-Type",),
    ) as session:
        workers = [asyncio.create_task(work(session)) for _ in range(at_once)]
        try:
            for _ in range(times):
                answer = await answers.get()
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


def _target(url: str, source: str) -> URL:
    if urlsplit(url).scheme not in ("http", "https"):
        raise NotDone(f"{url!r} is no address of an API: give --url http://host:port, or set SAGAHOOK_URL")
    return URL(f"{url.rstrip('/')}/webhooks/{escaped(source)}", encoded=True)


async def _post(
    session: aiohttp.ClientSession, target: URL, body: bytes, headers: Mapping[str, str]
) -> Answer:
    started = time.perf_counter()
    try:
        # No redirect is followed: a signature is for the address that was given.
        async with session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            text = await response.text(errors="replace")
    except TimeoutError:
        return Answer(
            None, time.perf_counter() - started, error=f"{target.origin()}: none within {_SECONDS:g} s"
        )
    except (aiohttp.ClientError, OSError, ValueError) as failed:
        said = f"{target.origin()} does not answer ({failed}): is it running there? Else give --url"
        return Answer(None, time.perf_counter() - started, error=said)
    return _read(response, text, time.perf_counter() - started)


def _read(response: aiohttp.ClientResponse, text: str, seconds: float) -> Answer:
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    fields = said if isinstance(said, dict) else {}
    accepted = 200 <= response.status < 300
    error = None if accepted else str(fields.get("error") or text or response.reason)[:_ERROR_CHARACTERS]
    return Answer(
        status=response.status,
        seconds=seconds,
        correlation_id=_text(fields.get("correlation_id")) or response.headers.get("X-Correlation-ID"),
        event_id=_text(fields.get("event_id")),
        error=error,
        retry_after=response.headers.get("Retry-After"),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
