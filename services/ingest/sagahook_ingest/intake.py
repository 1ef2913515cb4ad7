"""Bodies as they come in, within bounds: of each one, and of all together."""

from __future__ import annotations

from sagahook_ingest.answers import Receive
from sagahook_ingest.domain.refusals import Refusal, Unavailable


class SenderGone(Exception):
    """The connection ended before the body did: there is nobody to answer and nothing was written."""


class Intake:
    """limit: bytes that all bodies may take together while they are still coming in. What is there as a whole is
    published, and counted there, before anything else is done."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    async def read(self, receive: Receive, declared: int | None, limit: int) -> bytes:
        """The raw body. The limit holds whatever the sender declared. Raises Refusal, Unavailable, SenderGone."""
        if declared is not None and declared > limit:
            raise _too_large(limit)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            return await self._read_on(body, receive, limit)
        if message["type"] == "http.disconnect":
            raise SenderGone
        check_size(body, limit)
        return body

    async def _read_on(self, first: bytes, receive: Receive, limit: int) -> bytes:
        pieces, size = [first], len(first)
        self._held += size
        try:
            while True:
                if size > limit:
                    raise _too_large(limit)
                if self._held > self._limit:
                    raise Unavailable(
                        "Too many large webhooks are coming in at once; nothing was written, send again",
                        retry_after=1,
                    )
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise SenderGone
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                self._held += len(pieces[-1])
                if not message.get("more_body"):
                    break
        finally:
            self._held -= size
        if size > limit:
            raise _too_large(limit)
        return b"".join(pieces)


def check_size(body: bytes, limit: int) -> None:
    """Raises Refusal."""
    if len(body) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The body is larger than {limit} bytes, which is the source's body_limit or else SAGAHOOK_BODY_LIMIT",
    )
