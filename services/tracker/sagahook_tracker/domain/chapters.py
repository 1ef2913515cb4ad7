"""A story in parts: what was told is not told again, and what is told later is not missed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from orjson import JSONDecodeError, dumps, loads

from sagahook_schemas.commands import ParentStep
from sagahook_tracker.domain.runs import RunKey
from sagahook_tracker.domain.timeline import Entry, Told, story

Marks = Mapping[tuple[str, int], int]
"""The highest offset that was told, for each topic and partition."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on: after what stands up to `told`, and, where `until` is given, with the part of the story up to
    that, of which `skip` entries were told. What comes later into a partition, however early its clock says, is told
    when the part is over: nothing is missed, nothing told twice."""

    told: Marks = field(default_factory=dict)
    until: Marks | None = None
    skip: int = 0

    def written(self) -> str:
        until = None if self.until is None else _listed(self.until)
        return urlsafe_b64encode(dumps([_listed(self.told), until, self.skip])).decode()

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """None where it is none of ours."""
        with suppress(NotBase64, JSONDecodeError, UnicodeError, ValueError, TypeError):
            told, until, skip = loads(urlsafe_b64decode(text))
            if isinstance(skip, int) and skip >= 0:
                return cls(_read(told), None if until is None else _read(until), skip)
        return None


@dataclass(frozen=True, slots=True)
class Page:
    """more: whether the same part has further entries; else `after` waits for what has not happened yet."""

    told: tuple[Told, ...]
    after: Cursor
    more: bool


def page(entries: Iterable[Entry], parents: Mapping[RunKey, ParentStep], cursor: Cursor, limit: int) -> Page:
    """The next `limit` of all entries there are."""
    entries = list(entries)
    until = cursor.until
    if until is None:
        until = _marks(entries, cursor.told)
    known = story([entry for entry in entries if _within(entry, until)], parents)
    part = [each for each in known if not _within(each.entry, cursor.told)]
    here = part[cursor.skip : cursor.skip + limit]
    if cursor.skip + limit < len(part):
        return Page(tuple(here), Cursor(cursor.told, until, cursor.skip + limit), more=True)
    return Page(tuple(here), Cursor(until), more=False)


def _within(entry: Entry, marks: Marks) -> bool:
    return entry.place.offset <= marks.get(entry.place[:2], -1)


def _marks(entries: Iterable[Entry], known: Marks) -> Marks:
    marks = dict(known)
    for entry in entries:
        where = entry.place[:2]
        marks[where] = max(entry.place.offset, marks.get(where, -1))
    return marks


def _listed(marks: Marks) -> list[tuple[str, int, int]]:
    return sorted((*where, offset) for where, offset in marks.items())


def _read(listed: list[tuple[str, int, int]]) -> Marks:
    """Raises ValueError or TypeError."""
    marks = {(topic, partition): offset for topic, partition, offset in listed}
    if not all(
        isinstance(each, int) for (_, partition), offset in marks.items() for each in (partition, offset)
    ):
        raise TypeError("a partition or an offset is no number")
    return marks
