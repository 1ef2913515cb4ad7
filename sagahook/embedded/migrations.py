"""`python -m sagahook.embedded.migrations`: brings each service's schema in `DATABASE_URL` up to date.

All in one process, because loading the tools takes longer than their work.
"""

import asyncio
from importlib.util import find_spec
from pathlib import Path

from sagahook.runtime.migrations import migrate
from sagahook.runtime.settings import database_url_of_environment

SCHEMAS = {"tracker": "sagahook_tracker", "notifier": "sagahook_notifier"}
"""Schema → the package whose `migrations/` make it."""


async def migrate_all(database_url: str) -> None:
    for schema, package in SCHEMAS.items():
        spec = find_spec(package)
        if spec and spec.origin:
            await migrate(database_url, schema, Path(spec.origin).with_name("migrations"))


if __name__ == "__main__":
    asyncio.run(migrate_all(database_url_of_environment()))
