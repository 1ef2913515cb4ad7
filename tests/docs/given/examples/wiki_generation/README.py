"""Both services, and that the page's wiki is there afterwards."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sagahook.saga.http import close_sessions
from sagahook_wiki_generation import filesystem, git
from sagahook_wiki_generation.internal import Store
from tests.tracker_harness import serving


async def promised(page: Any) -> None:
    with TemporaryDirectory() as folder:
        files = Store(Path(folder) / "files.db", filesystem.TABLES)
        snapshots = Store(Path(folder) / "git.db", git.TABLES)
        async with (
            serving(filesystem.build_filesystem(files, "t")) as filesystem_url,
            serving(git.build_git(snapshots, "t")) as git_url,
        ):
            outcome = await page.generate(filesystem_url, git_url, "t")
        await close_sessions()
        files.close()
        snapshots.close()
    assert outcome["status"] == "completed"
    assert outcome["files_created"] == ["index.md", "guide/start.md"]
    assert outcome["snapshot_id"]
