"""`make sbom`: what the images hold of Python, as CycloneDX, from uv.lock alone.

Each package with its version, its package URL, the SHA-256 of the files that may have been installed, and what it
needs. The base image's own list comes from its publisher; docs/operating/supply-chain.md says how both are attached to
an image.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deploy.supply.lock import IN_THE_IMAGES, ROOT, exported


def sbom() -> str:
    """CycloneDX 1.5 as JSON; the same for the same lock, so without a time and a number of its own."""
    listed: dict[str, Any] = json.loads(
        exported(*IN_THE_IMAGES, "--format", "cyclonedx1.5", "--preview-features", "sbom-export")
    )
    del listed["serialNumber"], listed["metadata"]["timestamp"]
    return json.dumps(listed, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    path = Path(arguments[0] if arguments else ROOT / "dist" / "sbom.cdx.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sbom())
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
