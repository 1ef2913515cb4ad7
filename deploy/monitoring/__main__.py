"""`python -m deploy.monitoring write | check`: the dashboards as Grafana reads them; whether they and the alerts are in
order, by Prometheus' own tool too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.monitoring.boards import DASHBOARDS
from deploy.monitoring.panels import to_json
from deploy.monitoring.prometheus import NoPrometheus, program
from deploy.monitoring.rules import (
    ALERTS,
    ALERTS_TEST,
    HERE,
    NOT_OURS,
    alerts,
    metrics_of,
    problems,
    unproven,
)

DIRECTORY = HERE / "dashboards"


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


def findings() -> Iterator[str]:
    """What is wrong, without Prometheus' help."""
    from sagahook.cli.metrics_reference import declared

    known = {series for families in declared().values() for each in families for series in each.samples}
    for path in drift():
        yield f"{path.name} is not what deploy/monitoring/boards says: run `make schemas`"
    for dashboard in DASHBOARDS:
        for query in dashboard.queries:
            for metric in sorted(metrics_of(query.expr) - known - NOT_OURS):
                yield f"the dashboard {dashboard.name} asks for {metric}, which no service has"
    found = alerts()
    yield from problems(found, known)
    yield from unproven(found)


def by_promtool() -> Iterator[str]:
    """What it finds wrong with the rules, and every alert that does not fire or clear as it should. Raises
    NoPrometheus."""
    promtool = program("promtool")
    for command in (
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", ALERTS.name],
        ["test", "rules", ALERTS_TEST.name],
    ):
        done = subprocess.run([promtool, *command], cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"promtool {' '.join(command)}:\n{done.stdout}{done.stderr}"


def _check() -> None:
    wrong = list(findings())
    how = "fire and clear as promtool sees them"
    try:
        wrong += by_promtool()
    except NoPrometheus as absent:
        how = f"were not fired: there is no promtool here, and it cannot be had ({absent})"
    if wrong:
        sys.exit("\n".join(wrong))
    sys.stdout.write(f"{len(DASHBOARDS)} dashboards are in order; {len(alerts())} alerts are, and {how}\n")


def main() -> None:
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["check"]:
            _check()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
