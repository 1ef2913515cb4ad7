"""An earlier version of sagahook, out of git's history: for tests in which it runs beside this one."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

EARLIER = os.environ.get("SAGAHOOK_TEST_EARLIER") or "63c542a9edc25f61c7b01187f714147d4cfe2fec"
"""The version that the one of this tree may be mixed with (docs/operating/upgrades.md), as git names it: the last one
whose owners wrote everything in transactions, each with snapshots of what it changed. A release puts its own here."""

_PACKAGES = ("sagahook", "schemas", "services")


def unpacked(into: Path, revision: str = EARLIER) -> Path:
    """The packages of that version, below a folder that is made for them."""
    archive = into / "earlier.tar"
    words = ("git", "-C", str(ROOT), "archive", "--output", str(archive), revision, "--", *_PACKAGES)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"there is no {revision} here to run beside this version ({done.stderr.strip()}): fetch the whole history "
        "(git fetch --unshallow), or name another version with SAGAHOOK_TEST_EARLIER"
    )
    tree = into / "earlier"
    tree.mkdir()
    subprocess.run(("tar", "-xf", str(archive), "-C", str(tree)), check=True)
    return tree


def path_of(tree: Path) -> dict[str, str]:
    """The environment of a Python process that is started in its folder and imports that version. This one is imported
    anyway."""
    if tree == ROOT:
        return {}
    below = (tree, tree / "schemas", *sorted((tree / "services").iterdir()))
    return {"PYTHONPATH": os.pathsep.join(map(str, below))}
