"""One step's attempts in-process: time-outs, retries, and what a failure says about what was done."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from sagahook.saga.context import Continue
from sagahook.saga.errors import DefinitionError, PermanentError, UnknownOutcomeError
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Retry
from sagahook_schemas.values import NotKept

Attempt = Callable[[int, JsonValue], Awaitable[Any]]
"""Called with the attempt's number, from 1, and what the last one carried over."""


async def attempts(
    attempt: Attempt, retry: Retry, sleep: Callable[[float], Awaitable[object]], dice: Callable[[], float]
) -> Any:
    """The result of the attempt that succeeds. Raises what the last one raised. An action that asks to be
    called again uses up no retry, and has them all again."""
    number, failures, carry = 0, 0, None
    while True:
        number += 1
        try:
            result = await attempt(number, carry)
        except Exception as raised:
            failures += 1
            delay = delay_after(raised, retry, failures, dice())
            if delay is None:
                raise
            await sleep(delay)
            continue
        if not isinstance(result, Continue):
            return result
        carry, failures = result.carry, 0
        await sleep(result.seconds)


async def timed(call: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    """Raises TimeoutError, with a text of its own where it is the time-out of this call."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await call()
    except TimeoutError as late:
        if deadline.expired():
            raise TimeoutError(f"no answer within {seconds:g} s") from late
        raise


def delay_after(raised: Exception, retry: Retry, failures: int, dice: float) -> float | None:
    """Seconds until the next attempt; None: there is none."""
    if isinstance(raised, PermanentError | NotKept | DefinitionError):
        return None
    delay = retry.delay(failures, dice)
    if delay is None or is_named(raised, retry.non_retryable):
        return None
    asked = getattr(raised, "retry_after", None)
    least = asked if isinstance(asked, int | float) and asked > 0 else 0.0
    return max(delay.total_seconds(), float(least))


def is_named(raised: BaseException, names: Collection[str]) -> bool:
    """Whether the error's class, or one that it derives from, has one of the names: its own, or with its module."""
    return any(
        name in names
        for each in type(raised).__mro__
        for name in (each.__name__, f"{each.__module__}.{each.__qualname__}")
    )


def is_unknown(raised: Exception) -> bool:
    """Whether the action may have been applied all the same. Its result may be what cannot be kept."""
    if isinstance(raised, UnknownOutcomeError | OSError | NotKept):  # a time-out is an OSError
        return True
    aiohttp = sys.modules.get("aiohttp")  # an error of a library that was never loaded is none of its
    return aiohttp is not None and isinstance(
        raised, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError
    )
