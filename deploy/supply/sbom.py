"""`make sbom`: what the images hold of Python, as CycloneDX, from uv.lock alone.

Each package with its version, its package URL and the SHA-256 of the files that may have been installed. The base image's own list
comes with it from its publisher; `docs/operating/supply-chain.md` says how both are attached to an image.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.supply.lock import IN_THE_IMAGES, ROOT, exported


def sbom(requirements: str) -> str:
    """CycloneDX 1.6 as JSON, valid by its schema, and the same for the same requirements."""
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "requirements", "-", "--pyproject", str(ROOT / "pyproject.toml")),
        *("--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible", "--validate"),
    ]
    made = subprocess.run(command, input=requirements, capture_output=True, text=True, check=False)  # noqa: S603
    if made.returncode:
        raise RuntimeError(f"cyclonedx-py failed:\n{made.stderr}")
    return made.stdout


def main(arguments: list[str]) -> int:
    path = Path(arguments[0] if arguments else ROOT / "dist" / "sbom.cdx.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sbom(exported(*IN_THE_IMAGES)))
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
