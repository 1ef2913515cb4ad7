"""Follows the configuration of sources: a change of a file, or of a secret's file, takes effect without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sagahook.runtime.logging import get_logger
from sagahook.runtime.metrics import SOURCE_READS, SOURCES_BROKEN
from sagahook.runtime.source_configuration import Reading, SourceConfiguration
from sagahook.runtime.source_files import Stamps, stamp
from sagahook.runtime.sources import Sources

log = get_logger(__name__)

Apply = Callable[[Sources], None]
"""Takes the new configuration as a whole. Raises ValueError where it cannot be used; then the one before stays."""


class SourceWatch:
    """every: seconds between two looks at the files. A change is read once a look finds it as the look before did:
    whoever writes has finished then."""

    def __init__(self, configuration: SourceConfiguration, apply: Apply, *, every: float = 1.0) -> None:
        self._configuration = configuration
        self._apply = apply
        self._every = every
        self._current: Sources | None = None

    async def run(self) -> None:
        """Read once, and again after each change, until cancelled; returns where there is no file to follow."""
        known = await self._read()
        before = known
        while known:
            await asyncio.sleep(self._every)
            now = await asyncio.to_thread(_look, known)
            if now != known and now == before:
                now = known = await self._read()
            before = now

    async def _read(self) -> Stamps:
        reading = await asyncio.to_thread(self._configuration.read)
        outcome = self._use(reading)
        SOURCE_READS.labels(outcome).inc()
        SOURCES_BROKEN.set(outcome == "broken")
        return reading.stamps

    def _use(self, reading: Reading) -> str:
        try:
            sources = reading.sources
            if sources == self._current:
                return "unchanged"
            self._apply(sources)
        except ValueError as wrong:
            problems = [str(problem) for problem in reading.problems] or [str(wrong)]
            log.error(
                "sources.broken", problems=problems, action="correct it; until then the one before is used"
            )
            return "broken"
        log.info("sources.configured", sources=sorted(sources), **_changed(self._current, sources))
        for note in reading.notes:
            log.warning("sources.note", note=note)
        self._current = sources
        return "used"


def _look(known: Stamps) -> Stamps:
    return {path: stamp(path) for path in known}


def _changed(before: Sources | None, after: Sources) -> dict[str, list[str]]:
    """By name, what differs; nothing for the first time."""
    if before is None:
        return {}
    found = {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "changed": {name for name in after.keys() & before.keys() if after[name] != before[name]},
    }
    return {what: sorted(names) for what, names in found.items() if names}
