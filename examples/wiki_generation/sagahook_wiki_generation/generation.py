"""The generation as its callers know it: in their own process, without Kafka.

    generation = WikiGenerationSaga("p-1", "ada", "http://files.local", "http://git.local", {"X-INTERNAL-TOKEN": "…"})
    outcome = await generation.execute_with_consistency([{"path": "index.md", "content": "# Hello"}])

The steps are those of the durable form too: sagahook_wiki_generation/app.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypedDict
from uuid import uuid4

from sagahook.saga import DistributedSaga, Retry, SagaAborted
from sagahook_wiki_generation.services import File, Services

_SNAPSHOT = "snapshot"
_TIMEOUT = 10.0
_RETRY = Retry(max=3, initial=0.1, factor=3)
"""Both services honour Idempotency-Key, so that a request may be made again."""
_ROLLBACK_RETRY = Retry(max=6, initial=0.1, factor=3)


class Generated(TypedDict):
    files: list[str]
    snapshot_id: str


class Outcome(TypedDict):
    """files_created, snapshot_id: what there is now. saga_status: see DistributedSaga.get_status. left_behind: what
    could not be undone, and has to be seen to by hand: paths, and `snapshot`."""

    status: Literal["completed", "rolled_back", "failed"]
    files_created: list[str]
    snapshot_id: str | None
    error: str | None
    saga_status: dict[str, Any]
    message: str
    left_behind: list[str]


class WikiGenerationSaga:
    """One generation. internal_headers: what both services ask of their callers. saga_id: a new one by default; the
    services take what comes again under the same one for a repetition."""

    def __init__(
        self,
        project_id: str,
        user_id: str,
        filesystem_url: str,
        git_url: str,
        internal_headers: Mapping[str, str],
        *,
        saga_id: str | None = None,
    ) -> None:
        self._services = Services(project_id, user_id, filesystem_url, git_url, dict(internal_headers))
        self._saga = DistributedSaga(
            saga_id or f"wiki-{uuid4()}",
            user_id,
            parallel_rollback=True,
            timeout=_TIMEOUT,
            retry=_RETRY,
            rollback_retry=_ROLLBACK_RETRY,
        )

    async def execute_with_consistency(self, files: Sequence[File]) -> Outcome:
        """Either all files and their snapshot are there afterwards, or nothing is; where that could not be achieved
        the outcome is `failed`, and names what is left behind. Raises ValueError for files that cannot be."""
        try:
            made = await self.generate(files)
            await self._saga.commit()
        except SagaAborted as aborted:
            return self._undone(aborted, files)
        return {
            "status": "completed",
            "files_created": made["files"],
            "snapshot_id": made["snapshot_id"],
            "error": None,
            "saga_status": self._saga.get_status(),
            "message": f"{len(made['files'])} files were created, and kept by the snapshot {made['snapshot_id']}",
            "left_behind": [],
        }

    async def generate(self, files: Sequence[File]) -> Generated:
        """The steps, one by one. Raises SagaAborted: then what was done is undone, all at once."""
        _check(files)
        do = self._saga.execute_step
        made = [
            await do(
                _step(number),
                partial(self._services.create, file),
                partial(self._services.delete, file["path"]),
            )
            for number, file in enumerate(files, 1)
        ]
        kept = await do(_SNAPSHOT, partial(self._services.keep, made), self._services.drop)
        return {"files": [each["path"] for each in made], "snapshot_id": kept["snapshot_id"]}

    def _undone(self, aborted: SagaAborted, files: Sequence[File]) -> Outcome:
        paths = {_step(number): file["path"] for number, file in enumerate(files, 1)}
        left = [paths.get(step, step) for step in aborted.unresolved]
        message = "Everything that was created has been removed again"
        if left:
            message = f"Not everything could be removed again. Remove it by hand: {', '.join(left)}"
        return {
            "status": "failed" if left else "rolled_back",
            "files_created": [path for path in left if path != _SNAPSHOT],
            "snapshot_id": None,
            "error": aborted.error,
            "saga_status": self._saga.get_status(),
            "message": message,
            "left_behind": left,
        }


def _step(number: int) -> str:
    return f"file:{number}"


def _check(files: Sequence[File]) -> None:
    paths = [file["path"] for file in files]
    if not paths:
        raise ValueError("there are no files: a wiki has one at least")
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ValueError(f"a file is created once, and these are named twice: {', '.join(sorted(twice))}")
