"""The owner's own record in `saga.state`: who it is, and how the snapshots beside it are to be read."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import ConsumerRecord
from orjson import dumps, loads

from sagahook_runner.adapters.attempt import AttemptKey

LAYOUT = 3
"""Of what is in `saga.state`. Raised when an older version could not read it as it is meant; that one folds the log."""

_READABLE = (2, LAYOUT)
"""In the second, every transaction wrote its snapshots, and `events_from` was unknown."""


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """What the last owner left.

    instance: the process it was. released: it let go in order. in_flight: attempts that it, or an owner before
    it, promised to tell of by commands; they may still run elsewhere. first_run: see `Shard`. events_from: the
    offset in `saga.events` before which the snapshots tell everything; None: they tell all that there is. layout: of
    the snapshots; where it is none that we can read, the log is folded instead.
    """

    epoch: int = 0
    instance: str = ""
    released: bool = True
    in_flight: frozenset[AttemptKey] = frozenset()
    first_run: int = 1
    events_from: int | None = None
    layout: int = LAYOUT

    def to_json(self) -> bytes:
        return dumps(
            {
                "epoch": self.epoch,
                "instance": self.instance,
                "released": self.released,
                "in_flight": [list(key) for key in sorted(self.in_flight)],
                "first_run": self.first_run,
                "events_from": self.events_from,
                "layout": self.layout,
            }
        )

    @classmethod
    def from_record(cls, record: ConsumerRecord) -> OwnerRecord:
        fields = loads(record.value)
        return cls(
            epoch=fields["epoch"],
            instance=fields["instance"],
            released=fields["released"],
            in_flight=frozenset(AttemptKey(*key) for key in fields["in_flight"]),
            first_run=fields.get("first_run", 1),
            events_from=fields.get("events_from"),
            layout=fields.get("layout", 1),
        )

    @property
    def is_readable(self) -> bool:
        """Whether the snapshots beside it can be read here."""
        return self.layout in _READABLE
