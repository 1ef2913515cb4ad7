"""`make pins`: the digests of all images as their tags are today, and the hashes of what builds ours.

python -m deploy.supply.pins            writes what changed
python -m deploy.supply.pins --check    changes nothing; exit code 1 where something would
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.supply.lock import ROOT, requirements
from deploy.supply.registry import NoAnswer, Reference, current_digest

PINNED = (ROOT / "deploy/docker/Dockerfile", ROOT / "compose.yaml")
BUILDER = ROOT / "deploy/docker/builder.txt"

_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9._-]+)@(?P<digest>sha256:[0-9a-f]{64})")


def repinned(text: str, digest_of: Callable[[Reference], str]) -> tuple[str, list[str]]:
    """The text with today's digests, and a line for each that changed."""
    changes: dict[str, str] = {}

    def renew(pin: re.Match[str]) -> str:
        name, old = pin["name"], pin["digest"]
        new = digest_of(Reference.of(name))
        if new != old:
            changes[name] = f"{name}: {old[:19]}… is now {new[:19]}…"
        return f"{name}@{new}"

    return _PIN.sub(renew, text), list(changes.values())


def builder_requirements() -> str:
    """The group "build" of uv.lock, each package with the hashes of all its files."""
    head = "# Exported from uv.lock by `make pins`: what builds the images, by its hashes.\n"
    return head + requirements("--only-group", "build")


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    changes: list[str] = []
    known: dict[Reference, str] = {}

    def digest_of(reference: Reference) -> str:
        if reference not in known:
            known[reference] = current_digest(reference)
        return known[reference]

    new: dict[Path, str] = {}
    try:
        for path in PINNED:
            new[path], found = repinned(path.read_text(), digest_of)
            changes += found
    except NoAnswer as away:
        sys.stderr.write(f"pins: {away}. Nothing was changed.\n")
        return 1
    new[BUILDER] = builder_requirements()
    if new[BUILDER] != BUILDER.read_text():
        changes.append("deploy/docker/builder.txt: not what uv.lock says")
    for change in changes:
        sys.stdout.write(f"{change}\n")
    if not check:
        for path, text in new.items():
            path.write_text(text)
    return 1 if check and changes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
