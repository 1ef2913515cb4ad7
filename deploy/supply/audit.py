"""`make audit`: is a vulnerability known in anything that uv.lock names?

pip-audit asks the advisory database of OSV, which has those of the Python Packaging Authority and of GitHub.

    0  none is known
    1  some are: each with the version that mends it
    3  the database could not be asked, so nothing is known; with --where-reachable this is said, and is 0

What is accepted although it is known stands in `ACCEPTED`, each with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.supply.lock import EVERYTHING, requirements

ACCEPTED: dict[str, str] = {}
"""Advisory → why it does not concern us, and until when that is believed."""

_AWAY = ("ConnectionError", "Could not connect", "timed out", "Max retries exceeded", "NameResolutionError")
"""By which pip-audit says that nobody answered: it has one exit code for this and for what it found."""


@dataclass(frozen=True, slots=True)
class Finding:
    package: str
    version: str
    advisory: str
    mended: tuple[str, ...]

    def __str__(self) -> str:
        then = f"mended in {', '.join(self.mended)}" if self.mended else "not mended yet"
        return f"{self.package} {self.version}: {self.advisory}, {then}"


class NotAsked(Exception):
    """The database is away: try again where it can be reached."""


def audit(named: str, osv_url: str | None = None) -> tuple[Finding, ...]:
    """What is known of these, but for what is accepted. Raises NotAsked; RuntimeError where pip-audit itself fails."""
    with tempfile.TemporaryDirectory() as directory:
        asked, told = Path(directory, "requirements.txt"), Path(directory, "told.json")
        asked.write_text(named)
        command = [
            *(
                sys.executable,
                "-m",
                "pip_audit",
                "--requirement",
                str(asked),
                "--require-hashes",
                "--disable-pip",
            ),
            *(
                "--vulnerability-service",
                "osv",
                "--format",
                "json",
                "--output",
                str(told),
                "--progress-spinner",
                "off",
            ),
            *(("--osv-url", osv_url) if osv_url else ()),
            *(part for advisory in ACCEPTED for part in ("--ignore-vuln", advisory)),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.exists():
            return tuple(_findings(json.loads(told.read_text())))
    if any(sign in ran.stderr for sign in _AWAY):
        raise NotAsked("the advisory database of OSV does not answer from here")
    raise RuntimeError(f"pip-audit failed:\n{ran.stderr}")


def _findings(report: dict[str, Any]) -> list[Finding]:
    return [
        Finding(package["name"], package["version"], known["id"], tuple(known["fix_versions"]))
        for package in report["dependencies"]
        for known in package.get("vulns", ())
    ]


def main(arguments: list[str]) -> int:
    named = requirements(*EVERYTHING)
    packages = sum(1 for line in named.splitlines() if "==" in line)
    try:
        findings = audit(named)
    except NotAsked as away:
        passes = arguments == ["--where-reachable"]
        sys.stdout.write(
            f"NOT AUDITED: {away}. Nothing is known of {packages} packages"
            f"{', and the check goes on' if passes else ''}.\n"
        )
        sys.stdout.write("  → run `make audit` where it can be reached, before a release and every day\n")
        return 0 if passes else 3
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(findings)} known vulnerabilities in {packages} packages\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
