"""Every act of an operator, and every refusal of one, for whoever asks later; never what a signal carries."""

from __future__ import annotations

from dataclasses import dataclass

from sagahook.runtime.audit import Audit
from sagahook.runtime.keys import Caller
from sagahook.runtime.logging import get_logger
from sagahook.runtime.metrics import OPERATOR_ACTS

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Who:
    """action: in one word, for the log. actor: who says that it is them, "" where nobody was asked. caller: whose key
    it is."""

    action: str
    actor: str
    reason: str
    caller: Caller

    @property
    def words(self) -> str:
        return f"{self.actor}: {self.reason}" if self.reason else self.actor


class Acts:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def begin(self, who: Who, target: str) -> None:
        """Into the audit log before anything is done. Raises Unavailable."""
        caller = who.caller
        await self._audit.acted(
            action=caller.action,
            target=target,
            actor=caller.actor,
            role=caller.role,
            reason=who.words,
            client=caller.client,
            correlation_id=caller.correlation_id,
        )

    def refused(self, who: Who, target: str, why: str, **facts: object) -> None:
        caller = who.caller
        self._audit.refused(
            action=caller.action,
            target=target,
            reason=why,
            actor=caller.actor,
            role=caller.role,
            client=caller.client,
            correlation_id=caller.correlation_id,
        )
        self.tell(who, "refused", why=why, **facts)

    def tell(self, who: Who, outcome: str, **facts: object) -> None:
        """outcome: `accepted`, `refused` or `unavailable`. facts: of what it was."""
        OPERATOR_ACTS.labels(who.action, outcome).inc()
        say = log.info if outcome == "accepted" else log.warning
        say(
            "operator.act",
            action=who.action,
            actor=who.actor,
            key=who.caller.actor,
            reason=who.reason,
            outcome=outcome,
            **facts,
        )
