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


async def _get(http: aiohttp.ClientSession, url: str) -> str:
    """The status code, or why there is none."""
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(5)) as response:
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__
