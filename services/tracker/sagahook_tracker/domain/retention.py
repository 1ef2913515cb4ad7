"""How long the views keep what the log keeps for ever (or for longer).

What was let go is recorded as a cut-off for each kind, by the time of the events: so the rows are a function of the
log and the cut-offs, and a rebuild finds the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

Kind = Literal["history", "audit", "rollups", "deliveries", "finished"]
"""history: what happened in sagas. audit: what people did. rollups: counts by the minute, but for those since ever.
deliveries: outbound webhooks. finished: webhooks and sagas of which nothing more can come."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing in the log is older."""

AHEAD = 3
"""Days for which partitions are made before they are needed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """ages: seconds that each kind is kept for; one that is not there is kept for ever. rows: of a run's history,
    the newest; None: all."""

    ages: dict[Kind, float]
    rows: int | None


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Of its kind, what is older than `before` was let go, and of a run's history all but the newest `rows`."""

    kind: Kind
    before: datetime
    rows: int | None = None


def cutoffs(kept: Kept, now: datetime) -> Iterator[Cutoff]:
    """At the beginning of a day (UTC), so that partitions of a day are let go whole: a row is kept for its age, and
    at most a day longer."""
    for kind, seconds in kept.ages.items():
        yield Cutoff(
            kind, _midnight(now - timedelta(seconds=seconds)), kept.rows if kind == "history" else None
        )
    if "history" not in kept.ages and kept.rows is not None:
        yield Cutoff("history", BEGINNING, kept.rows)


def days_ahead(now: datetime) -> list[date]:
    """Today and the next ones, in UTC."""
    return [now.astimezone(UTC).date() + timedelta(days=days) for days in range(AHEAD + 1)]


def is_over(partition: str, before: datetime) -> bool:
    """Whether all of a day's partition, by its name `<table>_YYYYMMDD`, is from before."""
    day = datetime.strptime(partition.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
    return day + timedelta(days=1) <= before


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date(), time.min, UTC)
