"""Who was refused, and what operators did, as records of the topic `audit` (api.md §8).

What operators do is in the log before they are told that it will be done. Refusals are told as well as can be: those
that are alike become one record, and there is a bound on how many a second, so that whoever attacks a service does not
fill its log too. What is not told by itself is counted in a record for all others.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import datetime

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.buckets import Buckets, TooMany
from sagahook.runtime.clock import Clock
from sagahook.runtime.durable import DurableWriter
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger
from sagahook.runtime.sources import RateLimit
from sagahook.runtime.transactions import OutRecord
from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import AUDIT

log = get_logger(__name__)

OTHERS = "others"
"""The target of refusals that were too many to be told apart."""

_TOLD = RateLimit(2.0, 100)
"""Of refusals that differ. A record has about 400 bytes: what an attacker can fill in 90 days stays below 7 GB, and
needs one address and one wrong signature for a hundredth of it."""
_MOST_KEPT = 1_000
"""While Kafka is away."""
_GATHER_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_TEXT_LIMIT = 1_000
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class _Refusals:
    """Those that are alike. first: the record of the first of them."""

    first: AuditRecorded
    count: int
    last: datetime

    def record(self) -> AuditRecorded:
        if self.count == 1:
            return self.first
        return self.first.model_copy(update={"count": self.count, "until": self.last})


_Alike = tuple[str, ...]


class Audit:
    """service: the name of the one that tells."""

    def __init__(self, bootstrap: str, topic_prefix: str, service: str, clock: Clock) -> None:
        self._topic = AUDIT.name(topic_prefix)
        self._service = service
        self._clock = clock
        self._writer = DurableWriter(bootstrap, topic_prefix)
        self._refused: dict[_Alike, _Refusals] = {}
        self._buckets = Buckets("audit", "for the audit log")
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Write refusals until cancelled. Those of the last second before that are written too, if Kafka is there."""
        away = False
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(_RETRY_SECONDS if away else _GATHER_SECONDS)
                try:
                    await self._write_refusals()
                except Unavailable as unavailable:
                    if not away:
                        log.warning("audit.away", error=str(unavailable))
                    away = True
                else:
                    away = False
        finally:
            try:
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._write_refusals()
            except (Unavailable, TimeoutError):
                log.warning("audit.lost", refusals=sum(each.count for each in self._refused.values()))
            await self._writer.close()

    def refused(
        self,
        *,
        action: str,
        target: str,
        reason: str,
        actor: str = "",
        role: str = "",
        client: str = "",
        correlation_id: str = "",
    ) -> None:
        """Never waits and never raises. reason: without anything secret."""
        # A number in the reason, such as a signature's age, makes no other refusal of it.
        alike: _Alike = (action, target, actor, role, client, _DIGITS.sub("0", reason))
        known = self._refused.get(alike)
        if known is None and not self._may_tell():
            alike = (action, OTHERS)
            target, reason, actor, role, client = OTHERS, "too many to be told apart", "", "", ""
            correlation_id, known = "", self._refused.get(alike)
        now = self._clock.now()
        if known is not None:
            known.count += 1
            known.last = now
            return
        first = AuditRecorded(
            at=now,
            service=self._service,
            action=action,
            target=target[:_TEXT_LIMIT],
            outcome="refused",
            actor=actor,
            role=role,
            reason=reason[:_TEXT_LIMIT],
            client=client,
            correlation_id=correlation_id,
        )
        self._refused[alike] = _Refusals(first, 1, now)
        self._some.set()

    def _may_tell(self) -> bool:
        """Whether there is room for one more that differs."""
        if len(self._refused) >= _MOST_KEPT:
            return False
        try:
            self._buckets.take("told", _TOLD, time.monotonic())
        except TooMany:
            return False
        return True

    async def acted(
        self,
        *,
        action: str,
        target: str,
        actor: str,
        role: str,
        reason: str = "",
        client: str = "",
        correlation_id: str = "",
    ) -> None:
        """Returns when Kafka has it durably: only then may the act be answered. Raises Unavailable."""
        act = AuditRecorded(
            at=self._clock.now(),
            service=self._service,
            action=action,
            target=target[:_TEXT_LIMIT],
            outcome="done",
            actor=actor,
            role=role,
            reason=reason[:_TEXT_LIMIT],
            client=client,
            correlation_id=correlation_id,
        )
        await self._write([act])

    async def close(self) -> None:
        """For a user of `acted` alone; `run` closes by itself."""
        await self._writer.close()

    async def _write_refusals(self) -> None:
        """Raises Unavailable, and then they are kept."""
        self._some.clear()
        taken, self._refused = self._refused, {}
        if not taken:
            return
        try:
            await self._write([each.record() for each in taken.values()])
        except BaseException:
            for alike, each in self._refused.items():
                if alike in taken:
                    taken[alike].count += each.count
                    taken[alike].last = each.last
                else:
                    taken[alike] = each
            self._refused = taken
            self._some.set()
            raise

    async def _write(self, told: list[AuditRecorded]) -> None:
        """Raises Unavailable."""
        await self._writer.send(lambda partitions: [self._record(each, partitions) for each in told])

    def _record(self, told: AuditRecorded, partitions: int) -> OutRecord:
        return audit_record(self._topic, told, partitions)


def audit_record(topic: str, told: AuditRecorded, partitions: int) -> OutRecord:
    """For whoever writes it beside what it tells of, in one transaction. topic: with the prefix."""
    envelope = Envelope(
        id=new_event_id(),
        source=f"/sagahook/{told.service}",
        type=told.ce_type,
        time=told.at,
        subject=told.action,
        correlation_id=told.correlation_id,
    )
    return OutRecord(
        topic,
        partition_of(envelope.id, partitions),
        envelope.id.encode(),
        told.to_json(),
        envelope.to_headers(),
        int(told.at.timestamp() * 1000),
    )
