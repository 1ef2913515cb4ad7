"""A limit on how many sagas run at once, and how many begin in a time: an entity of its own, with its own log.

It lives in the partition of its key and is shared by all replicas. Slots are granted in the order of the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True)
class LimitState:
    """waiting, holding: the tickets of runs, in the order of the requests. full_at: when the whole burst is there
    again."""

    key: str
    name: str = ""
    tickets: int = 0
    waiting: Mapping[Run, int] = field(default_factory=dict)
    holding: Mapping[Run, int] = field(default_factory=dict)
    full_at: datetime | None = None

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.holding

    def to_json(self) -> bytes:
        return dumps(
            {
                "name": self.name,
                "tickets": self.tickets,
                "waiting": [[*run, ticket] for run, ticket in self.waiting.items()],
                "holding": [[*run, ticket] for run, ticket in self.holding.items()],
                "full_at": self.full_at,
            }
        )

    @classmethod
    def from_json(cls, key: str, data: bytes) -> LimitState:
        found = loads(data)
        full_at = found["full_at"]
        return cls(
            key,
            found["name"],
            found["tickets"],
            {(saga_id, run): ticket for saga_id, run, ticket in found["waiting"]},
            {(saga_id, run): ticket for saga_id, run, ticket in found["holding"]},
            None if full_at is None else datetime.fromisoformat(full_at),
        )


def evolve_limit(state: LimitState, event: Contract) -> LimitState:
    """Total: what cannot follow changes nothing."""
    match event:
        case SlotRequested():
            waiting = {**state.waiting, (event.saga_id, event.run): event.ticket}
            return _but(state, name=event.name, tickets=event.ticket, waiting=waiting)
        case SlotGranted():
            run = (event.saga_id, event.run)
            return _but(
                state,
                waiting=_without(state.waiting, run),
                holding={**state.holding, run: event.ticket},
                full_at=event.full_at,
            )
        case SlotReleased():
            run = (event.saga_id, event.run)
            return _but(state, waiting=_without(state.waiting, run), holding=_without(state.holding, run))
    return state


def decide_limit(
    state: LimitState, command: RequestSlot | ReleaseSlot | None, bounds: Bounds, now: datetime
) -> tuple[list[Contract], LimitState]:
    """The events, and the state after them. command None: time has passed, or the bounds have changed."""
    told: list[Contract] = []

    def emit(event: Contract) -> None:
        nonlocal state
        told.append(event)
        state = evolve_limit(state, event)

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
    return told, state


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


def _without(runs: Mapping[Run, int], run: Run) -> Mapping[Run, int]:
    return {each: ticket for each, ticket in runs.items() if each != run}


def _but(state: LimitState, **changes: object) -> LimitState:
    return LimitState(**{**state.__dict__, **changes})
