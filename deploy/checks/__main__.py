"""`python -m deploy.checks [check | write | diff [REVISION]]`: check the manifests, make them anew, compare them."""

from __future__ import annotations

import argparse
import sys

from deploy.checks.generated import ROOT
from deploy.checks.rendering import OVERLAYS, Refused, committed, differences, drift, rendered, write
from deploy.checks.rules import findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.checks", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("check", help="what is wrong with the manifests (the default)")
    commands.add_parser("write", help="make generated manifests and renderings anew")
    diff = commands.add_parser("diff", help="what has changed for each overlay since a revision of git")
    diff.add_argument("revision", nargs="?", default="HEAD")
    given = parser.parse_args()
    try:
        if given.command == "write":
            return _write()
        return _diff(given.revision) if given.command == "diff" else _check()
    except Refused as refused:
        sys.exit(str(refused))


def _check() -> int:
    wrong = [str(each) for each in drift()]
    for overlay in OVERLAYS:
        wrong += [f"{overlay}: {each}" for each in findings(rendered(overlay))]
    print("\n".join(wrong or [f"{len(OVERLAYS)} overlays ({', '.join(OVERLAYS)}): nothing is wrong"]))
    return bool(wrong)


def _write() -> int:
    changed = write()
    print("\n".join(f"made anew: {path.relative_to(ROOT)}" for path in changed) or "nothing has changed")
    return 0


def _diff(revision: str) -> int:
    for overlay in OVERLAYS:
        changes = differences(committed(overlay, revision), rendered(overlay))
        print(f"# {overlay}: {len(changes)} objects differ from {revision}")
        print("\n".join(changes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
