"""Requests that are there as a whole, answered without a task.

An ASGI application runs as a task for each request, which awaits the body, the work, and twice the writing of the
answer. Where the body came with the head, as those of webhooks do, and the application has no more to do than to check
it and to be told later how that went, half of a request's processor time is such waiting for what is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
"""ASGI's, whose scope is a mapping as its messages are."""

Reply: TypeAlias = Callable[[int, Iterable[tuple[bytes, bytes]], bytes], None]
"""A status, headers and a body. Without effect where the other side is gone."""


class AnswerWhole(Protocol):
    """Begins to answer a request, of which it has all. It calls `reply` once, now or later, and returns None; or it
    returns, and has not replied, what is to answer as any ASGI application does. It must not raise."""

    def __call__(self, scope: Message, body: bytes, reply: Reply) -> Application | None: ...


def of(app: object) -> AnswerWhole | None:
    """What an application has as `answer_whole`; None where it has none."""
    found: AnswerWhole | None = getattr(app, "answer_whole", None)
    return found
