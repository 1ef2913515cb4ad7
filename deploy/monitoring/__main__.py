"""`python -m deploy.monitoring write | check`: the dashboards as Grafana reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.monitoring.boards import DASHBOARDS
from deploy.monitoring.panels import to_json

DIRECTORY = Path(__file__).with_name("dashboards")


def generated() -> dict[Path, str]:
    return {
        DIRECTORY / f"{each.name}.json": json.dumps(to_json(each), indent=2, ensure_ascii=False) + "\n"
        for each in DASHBOARDS
    }


def drift() -> list[Path]:
    """The files that are missing, different, or made by nothing."""
    files = generated()
    there = {path: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    return sorted(path for path in files.keys() | there.keys() if files.get(path) != there.get(path))


def write() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    files = generated()
    for path in drift():
        if path in files:
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()


def main() -> None:
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["check"]:
            if differing := [path.name for path in drift()]:
                sys.exit(f"{', '.join(differing)}: not what boards.py says: run `make schemas`")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
