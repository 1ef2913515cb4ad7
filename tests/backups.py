"""The back-up and the restore of notifier's tables, by the commands of docs/operating/backup.md."""

import asyncio
import shlex
from pathlib import Path

from sagahook.embedded.postgres import binaries

PAGE = Path(__file__).parents[1] / "docs" / "operating" / "backup.md"


async def back_up(database_url: str, dump: Path) -> None:
    await _run("pg_dump", database_url, dump)


async def restore(database_url: str, dump: Path) -> None:
    await _run("pg_restore", database_url, dump)


async def _run(program: str, database_url: str, dump: Path) -> None:
    """The page's line that begins so, with this database and this file. Raises AssertionError with what it says."""
    [line] = [line for line in PAGE.read_text().splitlines() if line.startswith(f"{program} ")]
    given = line.replace("$DATABASE_URL", database_url).replace("notifier.dump", str(dump))
    _, *arguments = shlex.split(given)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(binaries() / program), *arguments, stdout=pipe, stderr=pipe
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
