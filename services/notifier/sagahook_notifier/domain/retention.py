"""How long what is finished is kept, and what keeps a replay from making it again: pure.

A delivery's row makes sure that its event is told once, and so does what is remembered of its saga: whatever
happened up to there is passed over. Where both are gone, the fence stands for them: of events from before it
nothing is told. It never goes further than every partition has been read, less a day for clocks that differ; so an
event that nobody has read yet is never behind it, however long the notifier was away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing in the log is older."""

MARGIN = timedelta(days=1)
"""By which the clocks of those who write events, of Kafka and of the notifier may differ."""


@dataclass(frozen=True, slots=True)
class Kept:
    """finished: how long deliveries that succeeded or were cancelled are kept, and what is remembered of sagas that
    are over. dead: how long those whose attempts are used up, at least as long; None: until a person asks again."""

    finished: timedelta
    dead: timedelta | None


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What came to its end before is let go. sagas: a day further back than the fence, so that all events of a saga
    that is let go are behind it."""

    fence: datetime
    dead: datetime | None

    @property
    def sagas(self) -> datetime:
        return self.fence - MARGIN


def cutoffs(kept: Kept, now: datetime, read_until: datetime | None) -> Cutoffs | None:
    """At the beginning of a day (UTC). read_until: every partition has been read up to there; None: that is not known,
    and nothing is let go."""
    if read_until is None:
        return None
    furthest = read_until - MARGIN
    return Cutoffs(
        fence=_midnight(min(now - kept.finished, furthest)),
        dead=None if kept.dead is None else _midnight(min(now - kept.dead, furthest)),
    )


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date(), time.min, UTC)
