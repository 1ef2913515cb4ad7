"""The diagrams of api.md §1, as Mermaid text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook_schemas.definitions import SagaDefinition
from sagahook_tracker.answers import Answers
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.diagram import mermaid

Format = Annotated[Literal["mermaid", "svg"], Query(description="svg needs a renderer, which is not there")]

_ERRORS = {404: "No such saga or definition", 406: "No renderer for the format", 503: "It is not known yet"}


def diagram_routes(answers: Callable[[], Answers], guard: Callable[..., Awaitable[None]] | None) -> APIRouter:
    """answers: asked for at each request. guard: a dependency that refuses callers; None: anyone may ask."""
    router = APIRouter(
        tags=["status"],
        dependencies=[Depends(guard)] if guard is not None else [],
        default_response_class=PlainTextResponse,
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    async def definition(name: str, version: int | None) -> SagaDefinition:
        found = None
        if "\0" not in name:
            with not_yet():
                found = await answers().definition(name, version)
        if found is None:
            which = f"{name!r}" if version is None else f"{name!r} in version {version}"
            raise ApiError(404, f"No saga {which} is deployed: check its name and version")
        return found

    @router.get("/sagas/{saga_id}/diagram")
    async def saga_diagram(saga_id: str, format: Format = "mermaid") -> PlainTextResponse:
        """The definition of the saga's newest run, with the trail that it took."""
        _only_text(format)
        found = None
        if "\0" not in saga_id:
            with not_yet():
                found = await answers().saga(saga_id)
        if found is None:
            raise ApiError(404, f"There is no saga {saga_id!r}: check the id")
        return PlainTextResponse(mermaid(await definition(found.run.name, found.run.version), found.run))

    @router.get("/definitions/{name}/diagram")
    async def definition_diagram(
        name: str,
        version: Annotated[int | None, Query(ge=1, le=2**31, description="by default the newest")] = None,
        format: Format = "mermaid",
    ) -> PlainTextResponse:
        """The definition as it is deployed."""
        _only_text(format)
        return PlainTextResponse(mermaid(await definition(name, version)))

    return router


def _only_text(format: str) -> None:
    if format != "mermaid":
        raise ApiError(
            406, "Nothing here renders SVG: ask for Mermaid text, and render that where it is shown"
        )
