"""Writes `.env` for compose.yaml: secrets and API keys of this machine's own. What is there already stays as it is."""

import hashlib
import json
import os
import secrets
import sys
from pathlib import Path

ROLES = ("reader", "operator", "admin")


def environment() -> dict[str, str]:
    """New values for everything that compose.yaml asks for."""
    keys = {role: f"shk_{role}_{secrets.token_hex(32)}" for role in ROLES}
    hashes = {role: hashlib.sha256(key.encode()).hexdigest() for role, key in keys.items()}
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "SECRET_KEY": secrets.token_hex(32),
        "GITHUB_WEBHOOK_SECRET": secrets.token_hex(32),
        "GRAFANA_PASSWORD": secrets.token_urlsafe(18),
        "SAGAHOOK_API_KEYS": json.dumps(hashes, separators=(",", ":")),
        **{f"SAGAHOOK_{role.upper()}_KEY": key for role, key in keys.items()},
    }


def write(path: Path) -> bool:
    """Whether it was written: False where the file is there. Only its owner may read it."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except FileExistsError:
        return False
    with file:
        file.write("# Made by `make compose-env`. The services know the keys only by their SHA-256.\n")
        file.writelines(f"{name}='{value}'\n" for name, value in environment().items())
    return True


def main(path: Path) -> None:
    if write(path):
        sys.stdout.write(f"{path}: new secrets, and keys for a reader, an operator and an admin\n")
    else:
        sys.stdout.write(f"{path} is there already: nothing was changed (remove it for new secrets)\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
