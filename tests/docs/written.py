"""The commands of a block, and what they are said to print."""

import re
import shlex
from collections.abc import Iterator

from tests.docs.blocks import Block


def commands(block: Block) -> list[str]:
    """Of `sh`: each whole, over as many lines as it takes; without comments that stand alone. Of `console`: what stands
    after `$ `."""
    if block.language == "console":
        return [command for command, _ in transcript(block)]
    found: list[str] = []
    parts: list[str] = []
    for line in block.text.splitlines():
        if not parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        parts.append(line)
        if _is_whole("\n".join(parts)):
            found.append("\n".join(parts))
            parts = []
    assert not parts, f"{block}: {parts[0]!r} does not end"
    return found


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def transcript(block: Block) -> Iterator[tuple[str, str]]:
    """Each command, and what it is said to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed.rstrip("\n")


def pattern(text: str) -> re.Pattern[str]:
    """`…` stands for anything, also for several lines; the spaces around it for any number of them."""
    parts = (re.escape(part.strip(" ")) for part in text.strip().split("…"))
    return re.compile(r"\s*.*?\s*".join(parts), re.S)


def named(command: str) -> str:
    """The command as it is listed: on one line, without its comment."""
    return re.sub(r"\s+", " ", re.sub(r"\s+#\s.*$", "", command, flags=re.M).replace("\\\n", " ")).strip()
