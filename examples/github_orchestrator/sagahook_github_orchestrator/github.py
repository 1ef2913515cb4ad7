"""How GitHub's REST API is asked: where, as whom, what its answers mean, page by page, and within its limits.

https://docs.github.com/rest/using-the-rest-api: rate limits, pagination, conditional requests.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote

from sagahook.saga import PermanentError, Retry, RetryLater, StepContext, http_request
from sagahook.saga.http import HttpAnswer
from sagahook_github_orchestrator.settings import Settings

PATIENT = Retry(max=8, initial=2, factor=2, cap=300)
STUBBORN = Retry(max=20, initial=2, factor=2, cap=900)
"""For what undoes: giving up there leaves something behind."""

PAGE = 100
"""The most that GitHub puts on a page."""
PAGE_BYTES = 32_000_000
"""A page of files has their patches on it."""
_SECONDARY_SECONDS = 60.0
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')

clock: Callable[[], float] = time.time
"""Seconds since the epoch, as GitHub's `x-ratelimit-reset` counts them."""


def at(path: str) -> Callable[[StepContext], str]:
    """The URL of a path below GITHUB_API_URL, with fields of the saga's context in its gaps."""

    def url(ctx: StepContext) -> str:
        fields = {name: quote(str(value), safe="") for name, value in ctx.context.items()}
        return Settings().github_api_url.rstrip("/") + path.format_map(fields)

    return url


def authorised(ctx: StepContext) -> Mapping[str, str]:
    """The headers of every request. Raises RetryLater while GitHub is to be left alone: then nothing is sent."""
    settings = Settings()
    LIMITS.check(settings.github_api_url, clock())
    token = settings.github_token.get_secret_value()
    return {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }


def expecting(*statuses: int) -> Callable[[HttpAnswer], bool]:
    """Whether an answer is one of these. Raises RetryLater where it is none because of a limit: GitHub says that by a
    403 too, which otherwise is a refusal for good."""

    def judge(answer: HttpAnswer) -> bool:
        pause = pause_after(answer, clock())
        LIMITS.heard(Settings().github_api_url, pause, clock())
        if answer.status in statuses:
            return True
        if pause > 0 and answer.status in (403, 429):
            raise RetryLater(f"GitHub's limit is used up: asked again in {pause:.0f} s", pause)
        return False

    return judge


def pause_after(answer: HttpAnswer, now: float) -> float:
    """Seconds for which GitHub wants to be left alone after an answer; 0: none. In the order of its documentation:
    Retry-After, else the reset of a limit of which nothing remains, else a minute for a secondary limit."""
    refused = answer.status in (403, 429)
    said, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if refused and said.isdigit():
        return float(said)
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(1.0, float(reset) - now)
    if answer.status == 429 or (refused and "secondary rate limit" in answer.text.lower()):
        return _SECONDARY_SECONDS
    return 0.0


class Limits:
    """Until when each API is to be left alone, as far as this process was told. Whoever asks on may be banned."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def heard(self, api: str, pause: float, now: float) -> None:
        if pause > 0:
            self._until[api] = max(now + pause, self._until.get(api, 0.0))

    def check(self, api: str, now: float) -> None:
        """Raises RetryLater."""
        if (left := self._until.get(api, 0.0) - now) > 0:
            raise RetryLater(
                f"nothing was sent, because GitHub's limit is used up for {left:.0f} s more", left
            )


LIMITS = Limits()


async def read(ctx: StepContext, url: str, *, etag: str = "") -> HttpAnswer:
    """One page. etag: of what is known already: where that is still so the answer is a 304 without a body, and costs
    nothing of the limit."""

    def headers(ctx: StepContext) -> Mapping[str, str]:
        return {**authorised(ctx), **({"If-None-Match": etag} if etag else {})}

    expect = expecting(200, 304) if etag else expecting(200)
    return await http_request("GET", lambda ctx: url, headers=headers, expect=expect).ask(
        ctx, limit=PAGE_BYTES
    )


async def pages(ctx: StepContext, path: str) -> AsyncIterator[Any]:
    """The bodies of all pages of a list."""
    async for page in from_page(ctx, await read(ctx, first_page(ctx, path))):
        yield page


async def from_page(ctx: StepContext, answer: HttpAnswer) -> AsyncIterator[Any]:
    """The bodies of a page that was read, and of all after it."""
    yield answer.json
    while (url := next_page(answer)) is not None:
        answer = await read(ctx, url)
        yield answer.json


def first_page(ctx: StepContext, path: str) -> str:
    return f"{at(path)(ctx)}?per_page={PAGE}"


def next_page(answer: HttpAnswer) -> str | None:
    """By the header Link, as GitHub asks for; page numbers are not made up. Raises PermanentError where it leads to
    another API, which is not to see the token."""
    found = _NEXT.search(answer.headers.get("link", ""))
    if found is None:
        return None
    if not found[1].startswith(Settings().github_api_url.rstrip("/") + "/"):
        raise PermanentError("the next page is not below GITHUB_API_URL, and is not asked for")
    return found[1]
