"""Whether a replica takes webhooks now, and how many of those that it took it has still to answer."""

from __future__ import annotations

import asyncio

from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.handlers import Receiver


class Door:
    """receiver: None until there is one."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.closing = False
        self._inside = 0
        """Requests whose webhooks may be on their way to Kafka."""
        self._empty = asyncio.Event()

    def open(self) -> Receiver:
        """Raises Unavailable."""
        if self.closing:
            raise Unavailable("This replica of ingest is stopping; send again", retry_after=1)
        if self.receiver is None:
            raise Unavailable(
                "ingest is starting: it has not caught up with Kafka yet; send again", retry_after=2
            )
        return self.receiver

    def enter(self) -> Receiver:
        """What is taken from here on is answered before a stopping replica ends. Raises Unavailable."""
        receiver = self.open()
        self._inside += 1
        return receiver

    def leave(self) -> None:
        """It is answered."""
        self._inside -= 1
        if self.closing and not self._inside:
            self._empty.set()

    async def drain(self, timeout: float) -> None:
        """Take nothing new, and answer what was taken. timeout: seconds."""
        self.closing = True
        if self._inside:
            try:
                await asyncio.wait_for(self._empty.wait(), timeout)
            except TimeoutError:
                return
