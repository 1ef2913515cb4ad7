"""What happens to a webhook that passed every check: it is published, or answered as the first of its key was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sagahook.runtime.clock import Clock
from sagahook_ingest.adapters.groups import Lost, Published, Told, resolve
from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.adapters.sealing import seal
from sagahook_ingest.domain.first_answers import FirstAnswer, FirstAnswers
from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.domain.webhook import Key, OnceOnly, Webhook

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_LAST = 2**63 - 1
"""A position after every other."""


@dataclass(slots=True)
class Receipt:
    """What the sender is told. duplicate: it is the answer to an earlier request under the same key."""

    event_id: str
    correlation_id: str
    duplicate: bool = False


class Receiver:
    """timeout: seconds that a duplicate waits for the outcome of the first. pass_end: returns when the answers are
    those of all that the log holds now. keys: for what is sealed."""

    def __init__(
        self,
        publisher: GroupPublisher,
        answers: FirstAnswers,
        clock: Clock,
        pass_end: Callable[[], Awaitable[None]],
        *,
        timeout: float,
        keys: DataKeys | None = None,
    ) -> None:
        self._keys = keys
        self._publisher = publisher
        self._answers = answers
        self._clock = clock
        self._pass_end = pass_end
        self._timeout = timeout
        self._running: dict[Key, asyncio.Event] = {}
        """Set when the first request under the key is settled, whether it got into the log or not."""
        self._doubts: list[Key] = []
        self._doubt = asyncio.Event()

    async def receive(self, webhook: Webhook) -> Receipt:
        """Returns when the log holds the webhook durably. Raises Unavailable, Refusal."""
        if webhook.subject is not None:
            await seal(webhook, webhook.subject, self._keys)
        if webhook.once:
            await self._until_free(webhook)
        published: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        first = self.begin(webhook, partial(resolve, published))
        return first or Receipt((await published).event_id, webhook.correlation_id)

    def must_wait(self, webhook: Webhook) -> bool:
        """Whether something is to be waited for before it can begin."""
        return webhook.subject is not None or any(once.key in self._running for once in webhook.once)

    def begin(self, webhook: Webhook, told: Told) -> Receipt | None:
        """As `receive` without a task, of a webhook that need not wait. None: `told` comes, later. Raises Unavailable,
        Refusal, and then nobody is told."""
        first = self._first(webhook) if webhook.once else None
        if first is not None:
            return Receipt(first.event_id, first.correlation_id, duplicate=True)

        if not webhook.once:
            self._publisher.begin(webhook, told)
            return None
        self._running |= {once.key: asyncio.Event() for once in webhook.once}
        try:
            self._publisher.begin(webhook, told, partial(self._settled, webhook))
        except Unavailable:
            self._settled(webhook, Lost.NOT_WRITTEN)
            raise
        return None

    async def run(self) -> None:
        """Until cancelled: settles the keys of which Kafka did not say whether it has the record, by reading the log
        to its end; whoever comes again meanwhile waits, and is then told what the log holds."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            doubts, self._doubts = self._doubts, []
            await self._pass_end()
            for key in doubts:
                self._release(key)

    def _first(self, webhook: Webhook) -> FirstAnswer | None:
        """What was answered to an earlier request under one of its keys. Raises Refusal."""
        now = self._clock.now()
        for once in webhook.once:
            first = self._answers.find(once.key, now)
            if first is None:
                continue
            if once.body_hash and first.body_hash != once.body_hash:
                raise Refusal(
                    422,
                    "This Idempotency-Key was used with another body: send the same body, or choose another key",
                )
            return first
        return None

    async def _until_free(self, webhook: Webhook) -> None:
        """Raises Unavailable."""
        keys = [once.key for once in webhook.once]
        if not any(key in self._running for key in keys):
            return
        try:
            async with asyncio.timeout(self._timeout):
                while running := [self._running[key] for key in keys if key in self._running]:
                    await running[0].wait()
        except TimeoutError:
            raise Unavailable(
                "An earlier request with this Idempotency-Key or delivery id is still under way; send it again",
                retry_after=5,
            ) from None

    def _settled(self, webhook: Webhook, outcome: Published | Lost) -> None:
        for once in webhook.once:
            if outcome is Lost.UNKNOWN:
                self._doubts.append(once.key)
                self._doubt.set()
                continue
            if isinstance(outcome, Published):
                self._answers.record(once.key, _answer(webhook, once, outcome))
            self._release(once.key)

    def _release(self, key: Key) -> None:
        self._running.pop(key).set()


def _answer(webhook: Webhook, once: OnceOnly, published: Published) -> FirstAnswer:
    return FirstAnswer(
        event_id=published.event_id,
        correlation_id=webhook.correlation_id,
        body_hash=once.body_hash,
        time=webhook.time,
        position=_LAST if published.offset is None else published.offset,
    )
