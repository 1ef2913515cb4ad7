"""Generations of a deployment's topics: each has another number of partitions, and a prefix with its own number.

What a generation is going through stands in the names of two topics that hold nothing, so that whoever asks Kafka which
topics there are knows it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(?P<first>.+)\.g(?P<number>[1-9][0-9]{0,5})")
_FILLED = "generation.filled-from."
_MOVED = "generation.moved-to."


def next_generation(prefix: str) -> str:
    """`sagahook` → `sagahook.g2` → `sagahook.g3`. It begins as the first one does, so that rights on topics that are
    given by prefix go on to hold."""
    numbered = _NUMBERED.fullmatch(prefix)
    if numbered is None:
        return f"{prefix}.g2"
    return f"{numbered['first']}.g{int(numbered['number']) + 1}"


def filling_mark(prefix: str, source: str) -> str:
    """The topic that is there while the generation is being filled from another one: it is not to be used."""
    return f"{prefix}.{_FILLED}{source}"


def moved_mark(prefix: str, target: str) -> str:
    """The topic that is there once everything has moved to another generation: this one is not to be used any more."""
    return f"{prefix}.{_MOVED}{target}"


def filled_from(prefix: str, names: Iterable[str]) -> str | None:
    """The prefix that this one is being filled from, by the names of all topics."""
    return _marked(f"{prefix}.{_FILLED}", names)


def moved_to(prefix: str, names: Iterable[str]) -> str | None:
    """The prefix that everything has moved to, by the names of all topics."""
    return _marked(f"{prefix}.{_MOVED}", names)


def why_not(prefix: str, names: Iterable[str]) -> str | None:
    """Why no service may use the topics, and what to do; None where they may. names: of all topics."""
    known = tuple(names)
    if target := moved_to(prefix, known):
        return (
            f"everything in the topics of {prefix} has moved to those of {target}: set "
            f"SAGAHOOK_TOPIC_PREFIX={target} (docs/operating/repartition.md)"
        )
    if source := filled_from(prefix, known):
        return (
            f"the topics of {prefix} are being filled from those of {source}, or that was interrupted: end it by "
            f"`sagahook topics repartition --prefix {source}`, then start"
        )
    return None


def _marked(beginning: str, names: Iterable[str]) -> str | None:
    return next((name.removeprefix(beginning) for name in names if name.startswith(beginning)), None)
