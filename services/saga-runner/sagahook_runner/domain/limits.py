"""A limit on how many sagas run at once, and how many begin in a time: an entity of its own, with its own log.

It lives in the partition of its key and is shared by all replicas. Slots are granted in the order of the requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from orjson import dumps, loads

from sagahook_runner.domain.react import Message
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import GrantSlot, ReleaseSlot, RequestSlot
from sagahook_schemas.definitions import RateLimit, SagaDefinition
from sagahook_schemas.sagas import SlotGranted, SlotReleased, SlotRequested


class Bounds(NamedTuple):
    """What the newest definition allows. None: no bound."""

    max_concurrent: int | None = None
    rate: RateLimit | None = None

    @classmethod
    def of(cls, definition: SagaDefinition | None) -> Bounds:
        """Of a saga that is not deployed any more nothing holds."""
        for trigger in definition.triggers if definition is not None else ():
            if trigger.max_concurrent is not None or trigger.rate_limit is not None:
                return cls(trigger.max_concurrent, trigger.rate_limit)
        return cls()


Run = tuple[str, int]
"""saga id, run"""

_RUN = "\x1f"
"""Between a limit's key and one of its runs, in `saga.state`. No limit key holds it."""


@dataclass(slots=True)
class LimitState:
    """waiting, holding: the tickets of runs, in the order of the requests. full_at: when the whole burst is there
    again.

    It is changed in place, by `evolve_limit` alone: a copy for each of a hundred thousand that wait would take all day.
    """

    key: str
    name: str = ""
    tickets: int = 0
    waiting: dict[Run, int] = field(default_factory=dict)
    holding: dict[Run, int] = field(default_factory=dict)
    full_at: datetime | None = None

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.holding


def evolve_limit(state: LimitState, event: Contract) -> None:
    """Total: what cannot follow changes nothing."""
    match event:
        case SlotRequested():
            state.name, state.tickets = event.name, event.ticket
            state.waiting[event.saga_id, event.run] = event.ticket
        case SlotGranted():
            run = (event.saga_id, event.run)
            state.waiting.pop(run, None)
            state.holding[run] = event.ticket
            state.full_at = event.full_at
        case SlotReleased():
            run = (event.saga_id, event.run)
            state.waiting.pop(run, None)
            state.holding.pop(run, None)


def snapshots_of(
    state: LimitState, events: Iterable[Contract] | None = None
) -> Iterator[tuple[str, bytes | None]]:
    """Keys and values in `saga.state`: the limit's own, and one for each run that waits or holds; None: it is gone.

    events: those since the last snapshots; None: everything.
    """
    if state.is_idle and state.full_at is None:
        yield state.key, None
    else:
        head = {"name": state.name, "tickets": state.tickets, "full_at": state.full_at}
        yield state.key, dumps(head)
    touched: Iterable[Run] = [*state.waiting, *state.holding]
    if events is not None:
        slots = (SlotRequested, SlotGranted, SlotReleased)
        touched = dict.fromkeys((each.saga_id, each.run) for each in events if isinstance(each, slots))
    for run in touched:
        held = run in state.holding
        ticket = state.holding[run] if held else state.waiting.get(run)
        key = f"{state.key}{_RUN}{run[0]}/{run[1]}"
        yield key, None if ticket is None else dumps({"ticket": ticket, "held": held})


def limits_from(snapshots: Mapping[str, bytes]) -> Iterator[LimitState]:
    """The reverse: from the newest value of each key, without those that are gone."""
    found: dict[str, LimitState] = {}
    tickets: list[tuple[int, bool, str, Run]] = []
    for key, value in snapshots.items():
        limit_key, _, run = key.partition(_RUN)
        data = loads(value)
        state = found.setdefault(limit_key, LimitState(limit_key))
        if run:
            saga_id, _, number = run.partition("/")
            tickets.append((data["ticket"], data["held"], limit_key, (saga_id, int(number))))
        else:
            full_at = data["full_at"]
            state.name, state.tickets = data["name"], data["tickets"]
            state.full_at = None if full_at is None else datetime.fromisoformat(full_at)
    for ticket, held, limit_key, which in sorted(tickets):
        (found[limit_key].holding if held else found[limit_key].waiting)[which] = ticket
    yield from found.values()


def follow_limit(
    state: LimitState, command: RequestSlot | ReleaseSlot | None, bounds: Bounds, now: datetime
) -> list[Contract]:
    """The events that the command causes; the state is the one after them. command None: time has passed, or the bounds
    have changed."""
    told: list[Contract] = []

    def emit(event: Contract) -> None:
        told.append(event)
        evolve_limit(state, event)

    match command:
        case RequestSlot():
            run = (command.saga_id, command.run)
            if run not in state.waiting and run not in state.holding:
                emit(
                    SlotRequested(
                        saga_id=command.saga_id,
                        run=command.run,
                        name=command.name,
                        ticket=state.tickets + 1,
                    )
                )
        case ReleaseSlot():
            run = (command.saga_id, command.run)
            ticket = state.holding.get(run, state.waiting.get(run))
            if ticket is not None:
                in_use = len(state.holding) - (run in state.holding)
                emit(SlotReleased(saga_id=command.saga_id, run=command.run, ticket=ticket, in_use=in_use))
    while state.waiting and _has_room(state, bounds, now):
        (saga_id, run_number), ticket = next(iter(state.waiting.items()))
        emit(
            SlotGranted(
                saga_id=saga_id,
                run=run_number,
                ticket=ticket,
                in_use=len(state.holding) + 1,
                allowed=bounds.max_concurrent,
                full_at=_taken(state, bounds, now),
            )
        )
    return told


def limit_messages(key: str, event: Contract) -> tuple[Message, ...]:
    if not isinstance(event, SlotGranted):
        return ()
    return (Message(event.saga_id, GrantSlot(run=event.run, limit_key=key)),)


def next_turn(state: LimitState, bounds: Bounds, now: datetime) -> datetime | None:
    """When time alone lets the next one in; None where it does not."""
    rate = bounds.rate
    if not state.waiting or rate is None or state.full_at is None:
        return None
    if bounds.max_concurrent is not None and len(state.holding) >= bounds.max_concurrent:
        return None
    return max(now, state.full_at - _burst(rate))


def _has_room(state: LimitState, bounds: Bounds, now: datetime) -> bool:
    if bounds.max_concurrent is not None and len(state.holding) >= bounds.max_concurrent:
        return False
    rate = bounds.rate
    return rate is None or state.full_at is None or now >= state.full_at - _burst(rate)


def _burst(rate: RateLimit) -> timedelta:
    """How far `full_at` may lie ahead while there is still one left. (The generic cell rate algorithm.)"""
    return timedelta(seconds=rate.per * (rate.count - 1) / rate.count)


def _taken(state: LimitState, bounds: Bounds, now: datetime) -> datetime | None:
    if bounds.rate is None:
        return None
    return max(now, state.full_at or now) + timedelta(seconds=bounds.rate.per / bounds.rate.count)
