"""What the generation asks of the filesystem service and of the git service. Each method is a step, or undoes one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from sagahook.saga import PermanentError, StepContext, http_request

BATCH = 100
"""Files that one request deletes."""
_GATHER_SECONDS = 0.02
"""How long a batch waits for further files: what is undone at once does not come at the very same instant."""


class File(TypedDict):
    path: str
    content: str


class Created(TypedDict):
    path: str
    sha256: str


@dataclass
class _Doomed:
    """A file that is to be deleted. key: of the step that created it."""

    path: str
    key: str
    told: asyncio.Future[None]

    def tell(self, error: Exception | None) -> None:
        if self.told.done():
            return  # nobody waits for it any more
        if error is None:
            self.told.set_result(None)
        else:
            self.told.set_exception(error)


@dataclass
class Services:
    project_id: str
    user_id: str
    filesystem_url: str
    git_url: str
    headers: Mapping[str, str]
    _doomed: list[_Doomed] = field(default_factory=list)
    _deleting: asyncio.Task[None] | None = None

    async def create(self, file: File, ctx: StepContext) -> Created:
        body = {"project_id": self.project_id, **file}
        answer: Any = await self._post(ctx, f"{self.filesystem_url}/files", body)
        return {"path": answer["path"], "sha256": answer["sha256"]}

    async def delete(self, path: str, ctx: StepContext) -> None:
        """Whatever came of creating it. Goes out with all others that are to be deleted at this time. Raises
        PermanentError where the service will not do it."""
        doomed = _Doomed(path, ctx.action_key, asyncio.get_running_loop().create_future())
        self._doomed.append(doomed)
        if len(self._doomed) == 1:
            # A task of its own: whoever came first may be given up, and the others not with it.
            self._deleting = asyncio.create_task(self._delete_gathered(ctx))
        await doomed.told

    async def keep(self, files: Sequence[Created], ctx: StepContext) -> Any:
        body = {"project_id": self.project_id, "author": self.user_id, "files": list(files)}
        return await self._post(ctx, f"{self.git_url}/snapshots", body)

    async def drop(self, ctx: StepContext) -> None:
        """By the step's key, so that the snapshot's id need not be known."""
        await self._post(ctx, f"{self.git_url}/snapshots/undo", {"project_id": self.project_id})

    async def _delete_gathered(self, ctx: StepContext) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        gathered, self._doomed = self._doomed, []
        batches = [gathered[at : at + BATCH] for at in range(0, len(gathered), BATCH)]
        await asyncio.gather(*(self._delete(ctx, batch) for batch in batches))

    async def _delete(self, ctx: StepContext, batch: list[_Doomed]) -> None:
        """Tells each of the batch what became of it; where there is no answer, all of them so."""
        files = [{"path": each.path, "created_by": each.key} for each in batch]
        try:
            body = {"project_id": self.project_id, "files": files}
            answer: Any = await self._post(ctx, f"{self.filesystem_url}/files/batch-delete", body)
            refused = {each["path"]: each["error"] for each in answer["refused"]}
        except Exception as failed:
            for each in batch:
                each.tell(failed)
            return
        for each in batch:
            error = refused.get(each.path)
            each.tell(None if error is None else PermanentError(f"{each.path} was not deleted: {error}"))

    async def _post(self, ctx: StepContext, url: str, body: Mapping[str, Any]) -> Any:
        asked = http_request("POST", lambda ctx: url, json=lambda ctx: body, headers=lambda ctx: self.headers)
        return (await asked.ask(ctx)).json
