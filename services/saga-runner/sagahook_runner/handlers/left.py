"""What the last owner of a partition left unfinished, and what the next one says of it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from sagahook_runner.adapters.attempt import AttemptKey
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.domain.commands import AttemptLost, Command, Park, Unpark
from sagahook_runner.domain.shard import Shard

_OUTCOME_GRACE = timedelta(seconds=10)
"""How long beyond its time-out an attempt that another process promised to tell of is waited for."""


@dataclass(frozen=True, slots=True)
class Left:
    """last: its record. promised: attempts that other processes tell of. here: those that go on in this one."""

    last: OwnerRecord
    promised: Set[AttemptKey]
    here: Set[AttemptKey]
    process_id: str

    def verdicts(self, shard: Shard, now: datetime) -> Iterator[tuple[str, Command]]:
        """Of each attempt what became of it, where nobody else can tell; of each saga whether what is deployed here can
        carry it on. What was promised is waited for, with a timer in the shard."""
        nobody_crashed = self.last.released or self.last.instance == self.process_id
        for state, running in shard.running():
            key = AttemptKey.of(state.saga_id, state.run, running)
            if key in self.here:
                continue
            if key in self.promised:
                until = (running.at or now) + _OUTCOME_GRACE
                shard.expect_outcome_until(until, state.saga_id, AttemptLost(*key[1:], "crash"))
            else:
                yield state.saga_id, AttemptLost(*key[1:], "never_begun" if nobody_crashed else "crash")
        for state, unfit in shard.unfit():
            yield state.saga_id, Park(unfit)
        for state in shard.fit_again():
            yield state.saga_id, Unpark(f"version {state.version} is deployed")
