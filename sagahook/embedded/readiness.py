"""Waits until services say that they can work."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from sagahook.embedded.errors import StackError
from sagahook.embedded.process import last_lines
from sagahook.embedded.supervisor import ServiceSpec

READY_SECONDS = 60
MOST_DEATHS = 3
WANTED_SECONDS = 10
NOT_FOUND = 404


async def until_ready(
    spec: ServiceSpec, http: aiohttp.ClientSession, log: Path, deaths: Callable[[], int]
) -> None:
    """Returns when its `ready_url` answers 200. Raises StackError when it keeps dying, or takes too long."""
    if spec.ready_url is None:
        return
    deadline = time.monotonic() + READY_SECONDS
    while (answer := await _get(http, spec.ready_url)) != "200":
        if deaths() >= MOST_DEATHS or time.monotonic() > deadline:
            trouble = f"ended {deaths()} times" if deaths() else f"is not ready ({spec.ready_url}: {answer})"
            raise StackError(f"{spec.name} {trouble} while starting. The end of {log}:\n{last_lines(log)}")
        await asyncio.sleep(0.05)


async def until_wanted(api: str, source: str, http: aiohttp.ClientSession) -> None:
    """Returns when ingest has read that a trigger wants the source; an empty POST, which nothing accepts, tells it.

    A definition takes a moment through Kafka, and a stack that is ready must not answer 404 to what its app wants.
    Gives up silently: an app whose source is refused for another reason is no failure of the stack.
    """
    deadline = time.monotonic() + WANTED_SECONDS
    while time.monotonic() < deadline:
        async with http.post(f"{api}/webhooks/{source}") as answer:
            if answer.status != NOT_FOUND:
                return
        await asyncio.sleep(0.02)


async def _get(http: aiohttp.ClientSession, url: str) -> str:
    """The status code, or why there is none."""
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(5)) as response:
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__
