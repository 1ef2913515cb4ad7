"""Transcripts that are kept as files, and compared with what the engine writes now."""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path

from sagahook.testing.run import Run

WRITE = "SAGAHOOK_WRITE_GOLDEN"
"""Set to anything but "": the files are written anew instead of compared."""


def assert_transcript(run: Run, path: str | Path, *, write: bool | None = None) -> None:
    """The run's transcript is what the file says. Raises AssertionError with the difference.

    write: write the file instead; by default where the environment has SAGAHOOK_WRITE_GOLDEN.
    """
    file, told = Path(path), run.transcript
    if write or (write is None and os.environ.get(WRITE)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(told)
        return
    if not file.is_file():
        raise AssertionError(f"there is no {file}: run once with {WRITE}=1, read it, and keep it")
    kept = file.read_text()
    if told != kept:
        lines = unified_diff(kept.splitlines(), told.splitlines(), str(file), "this run", lineterm="", n=2)
        difference = "\n".join(lines)
        raise AssertionError(f"the transcript changed; {WRITE}=1 accepts it:\n{difference}")
