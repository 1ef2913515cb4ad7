"""The saga log in memory: all that outlives a process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from orjson import dumps, loads

from sagahook.runtime.transactions import OutRecord
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.limits import LimitState, evolve_limit
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode_data
from sagahook_schemas.envelope import Envelope


class Happened(NamedTuple):
    """One event of one run. type: its CloudEvents type. data: as JSON has it."""

    saga_id: str
    run: int
    sequence: int
    type: str
    data: dict[str, Any]
    time: datetime

    @property
    def kind(self) -> str:
        """`step.completed`"""
        return self.type.removeprefix("sagahook.").rpartition(".")[0]

    def event(self) -> Contract:
        """Raises ValueError for a type that nobody knows and for data that do not fit."""
        return decode_data(self.type, dumps(self.data))


class Log:
    """Everything that was committed, in its order."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], list[Happened]] = {}
        self._limits: list[tuple[str, Contract]] = []

    def append(self, record: OutRecord, time: datetime) -> None:
        envelope = Envelope.from_headers(record.headers)
        value = record.value or b""
        if not envelope.saga_id:
            self._limits.append((envelope.subject, decode_data(envelope.type, value)))
            return
        run = (envelope.saga_id, envelope.run)
        happened = Happened(*run, envelope.sequence, envelope.type, loads(value), time)
        self._runs.setdefault(run, []).append(happened)

    def of(self, saga_id: str, run: int) -> tuple[Happened, ...]:
        return tuple(self._runs.get((saga_id, run), ()))

    def newest(self, saga_id: str) -> int:
        """The number of the saga's newest run; 0 where there is none."""
        return max((run for found, run in self._runs if found == saga_id), default=0)

    def runs(self) -> Iterator[tuple[str, int]]:
        """In the order in which they began."""
        return iter(self._runs)

    def restore(self, shard: Shard) -> None:
        """Fill a shard as the next owner of the partition does."""
        for saga_id, number in self._runs:
            if number == self.newest(saga_id):
                events = self._runs[saga_id, number]
                shard.restore(folded(events), events[-1].time)
        limits: dict[str, LimitState] = {}
        for key, event in self._limits:
            evolve_limit(limits.setdefault(key, LimitState(key)), event)
        for limit in limits.values():
            shard.restore_limit(limit)


def folded(events: Iterable[Happened]) -> SagaState:
    """The state after the events of one run, from its first on."""
    return list(states(events))[-1]


def states(events: Iterable[Happened]) -> Iterator[SagaState]:
    """The state after each event of one run, from its first on."""
    state: SagaState | None = None
    for happened in events:
        state = evolve(state or SagaState(happened.saga_id, run=happened.run), happened.event())
        yield state
