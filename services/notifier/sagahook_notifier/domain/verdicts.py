"""What attempts mean for their endpoints: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sagahook_notifier.domain.deliveries import Finished
from sagahook_notifier.domain.health import HEALTHY, Breaker, Health, settle
from sagahook_notifier.domain.policies import Exhausted, pause_asked


@dataclass(frozen=True, slots=True)
class Rules:
    """disable_after: an endpoint that nothing reached for so long is disabled; None: never."""

    breaker: Breaker = field(default_factory=Breaker)
    disable_after: timedelta | None = timedelta(days=5)


@dataclass(slots=True)
class Verdicts:
    """By endpoint: its health from now on, and why it is to be disabled."""

    health: dict[str, Health] = field(default_factory=dict)
    disabled: dict[str, str] = field(default_factory=dict)


def judge(rules: Rules, known: Mapping[str, Health], finished: Sequence[Finished]) -> Verdicts:
    """After these attempts, in the order in which they ended. known: the endpoints' health before them; one that is not
    there is healthy."""
    verdicts = Verdicts()
    for each in finished:
        endpoint = each.claimed.target.endpoint_id
        before = verdicts.health.get(endpoint) or known.get(endpoint, HEALTHY)
        if each.sign == "accepted" and before == HEALTHY:
            continue
        after = settle(
            before,
            each.sign,
            each.at,
            breaker=rules.breaker,
            probe=each.claimed.probe,
            error=each.error,
            asked=pause_asked(each.exchange.said, each.at),
        )
        verdicts.health[endpoint] = after
        if reason := _disabled(rules, each, after):
            verdicts.disabled.setdefault(endpoint, reason)
    return verdicts


def _disabled(rules: Rules, finished: Finished, health: Health) -> str | None:
    if isinstance(finished.outcome, Exhausted) and finished.outcome.is_gone:
        return "the receiver answered 410: it wants nothing more"
    limit = rules.disable_after
    if limit is None or not health.has_failed_for(limit, finished.at):
        return None
    return f"every attempt failed for {_duration(limit)}; the last one: {health.error}"


def _duration(limit: timedelta) -> str:
    hours = limit.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
