"""12: judges the log of one limit by an automaton of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple


class LimitLogged(NamedTuple):
    """One event of a limit's log. type: as in `Logged`."""

    type: str
    data: Mapping[str, Any]
    time: datetime | None = None

    @property
    def kind(self) -> str:
        return self.type.removeprefix("sagahook.").removesuffix(".v1")


def check_limit(  # noqa: PLR0912 - one rule beside the other
    events: Iterable[LimitLogged], *, at_rest: bool = True, rate: tuple[int, float] | None = None
) -> list[str]:
    """Every violation in the log of one limit.

    at_rest: everything has ended, so that nobody may wait or hold a slot any more. rate: so many in so many seconds;
    as many again may come at once in a burst.
    """
    found: list[str] = []
    waiting: dict[tuple[str, int], int] = {}
    holding: dict[tuple[str, int], int] = {}
    granted: list[datetime] = []
    last_ticket = 0
    for number, event in enumerate(events, 1):
        data, who = event.data, (event.data["saga_id"], event.data["run"])
        name = f"#{number} {event.kind} {who[0]}/{who[1]}"
        match event.kind:
            case "limit.slot_requested":
                first = not waiting and not holding
                if data["ticket"] != last_ticket + 1 and not (first and data["ticket"] == 1):
                    found.append(f"{name}: its ticket {data['ticket']} follows {last_ticket}")
                if who in waiting or who in holding:
                    found.append(f"{name}: it asked before")
                last_ticket = data["ticket"]
                waiting[who] = last_ticket
            case "limit.slot_granted":
                if who not in waiting:
                    found.append(f"{name}: it does not wait")
                elif waiting[who] != min(waiting.values()) or data["ticket"] != waiting[who]:
                    found.append(f"{name}: it is not its turn")
                holding[who] = waiting.pop(who, 0)
                if data["in_use"] != len(holding):
                    found.append(f"{name}: {data['in_use']} in use, where {len(holding)} are")
                if data.get("allowed") is not None and len(holding) > data["allowed"]:
                    found.append(f"{name}: {len(holding)} at once, where {data['allowed']} are allowed")
                if event.time is not None:
                    granted.append(event.time)
            case "limit.slot_released":
                if holding.pop(who, None) is None and waiting.pop(who, None) is None:
                    found.append(f"{name}: it neither held nor waited")
                if data["in_use"] != len(holding):
                    found.append(f"{name}: {data['in_use']} in use, where {len(holding)} are")
    if at_rest:
        found += [f"{who[0]}/{who[1]}: it was never let in" for who in waiting]
        found += [f"{who[0]}/{who[1]}: it never gave its slot back" for who in holding]
    return found + (_too_fast(granted, *rate) if rate is not None else [])


def _too_fast(granted: list[datetime], count: int, per: float) -> list[str]:
    one = timedelta(seconds=per / count)
    return [
        f"grants {first + 1} to {last + 1}: too many in {granted[last] - granted[first]}"
        for last in range(len(granted))
        for first in range(last)
        if last - first + 1 > count + (granted[last] - granted[first]) / one + 1e-6
    ]
