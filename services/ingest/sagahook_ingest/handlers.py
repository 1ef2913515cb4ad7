"""What happens to a webhook that passed every check: it is published, or answered as the first of its key was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from sagahook.runtime.clock import Clock
from sagahook_ingest.adapters.groups import Published
from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.domain.first_answers import FirstAnswer, FirstAnswers, Key
from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.domain.webhook import OnceOnly, Webhook

_LAST = 2**63 - 1
"""A position after every other."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender is told. duplicate: it is the answer to an earlier request under the same key."""

    event_id: str
    correlation_id: str
    duplicate: bool = False


class Receiver:
    """timeout: seconds that a duplicate waits for the outcome of the first."""

    def __init__(
        self, publisher: GroupPublisher, answers: FirstAnswers, clock: Clock, *, timeout: float
    ) -> None:
        self._publisher = publisher
        self._answers = answers
        self._clock = clock
        self._timeout = timeout
        self._running: dict[Key, asyncio.Event] = {}
        """Set when the first request under the key is settled, whether it got into the log or not."""

    async def receive(self, webhook: Webhook) -> Receipt:
        """Returns when the log holds the webhook durably. Raises Unavailable, Refusal."""
        if webhook.once is not None:
            return await self._receive_once(webhook, webhook.once)
        published = await self._publisher.publish(webhook)
        return Receipt(published.event_id, webhook.correlation_id)

    async def _receive_once(self, webhook: Webhook, once: OnceOnly) -> Receipt:
        key = (once.source, bytes.fromhex(once.key_hash))
        try:
            async with asyncio.timeout(self._timeout):
                while (running := self._running.get(key)) is not None:
                    await running.wait()
        except TimeoutError:
            raise Unavailable(
                "The first request with this Idempotency-Key is still under way; send it again", retry_after=5
            ) from None
        first = self._answers.find(key, self._clock.now())
        if first is not None:
            if first.body_hash != bytes.fromhex(once.body_hash):
                raise Refusal(
                    422,
                    "This Idempotency-Key was used with another body: send the same body, or choose another key",
                )
            return Receipt(first.event_id, first.correlation_id, duplicate=True)
        self._running[key] = asyncio.Event()
        try:
            answer = self._publisher.publish(webhook, partial(self._settled, key, webhook))
        except Unavailable:
            self._settled(key, webhook, None)
            raise
        published = await answer
        return Receipt(published.event_id, webhook.correlation_id)

    def _settled(self, key: Key, webhook: Webhook, published: Published | None) -> None:
        if published is not None and webhook.once is not None:
            answer = FirstAnswer(
                event_id=published.event_id,
                correlation_id=webhook.correlation_id,
                body_hash=bytes.fromhex(webhook.once.body_hash),
                time=webhook.time,
                position=_LAST if published.offset is None else published.offset,
            )
            self._answers.record(key, answer)
        self._running.pop(key).set()
