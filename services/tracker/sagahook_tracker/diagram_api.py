"""The diagrams of api.md §1, as Mermaid text, and as SVG where a renderer is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse, Response

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.definitions import SagaDefinition
from sagahook_tracker.adapters.drawing import NoRenderer, NotDrawn, Renderer
from sagahook_tracker.adapters.timelines import Timelines
from sagahook_tracker.answers import Answers
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.diagram import mermaid

Format = Annotated[
    Literal["mermaid", "svg"], Query(description="svg needs `mmdc` beside the service; else 406")
]

_DRAWN: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {"example": 'flowchart TD\n    s0["reserve"]\n    s1["charge"]\n    s0 --> s1\n'},
            "image/svg+xml": {},
        }
    }
}
_HARMLESS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""Opened by itself, an SVG is a document of our origin."""

_ERRORS = {
    404: "No such saga or definition",
    406: "No renderer for the format",
    500: "The renderer failed",
    503: "It is not known yet",
}


def diagram_routes(
    answers: Callable[[], Answers], timelines: Callable[[], Timelines], guard: Guard, renderer: Renderer
) -> APIRouter:
    """answers, timelines: asked for at each request. guard: refuses callers."""
    router = APIRouter(
        tags=["status"],
        dependencies=[Depends(guard)],
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

    async def drawn(text: str, format: str) -> Response:
        if format == "mermaid":
            return PlainTextResponse(text)
        try:
            return Response(await renderer.svg(text), media_type="image/svg+xml", headers=_HARMLESS)
        except NoRenderer as missing:
            raise ApiError(406, str(missing)) from missing
        except NotDrawn as failed:
            raise ApiError(500, f"{failed}: take the Mermaid text (format=mermaid)") from failed

    @router.get("/sagas/{saga_id}/diagram", responses=_DRAWN)
    async def saga_diagram(saga_id: str, format: Format = "mermaid") -> Response:
        """The definition of the saga's newest run, with the trail that it took."""
        found = None
        if "\0" not in saga_id:
            with not_yet():
                found = await answers().saga(saga_id)
        if found is None:
            raise ApiError(404, f"There is no saga {saga_id!r}: check the id")
        run = found.run
        with not_yet():
            took = await timelines().step_times(*run.key)
        return await drawn(mermaid(await definition(run.name, run.version), run, took), format)

    @router.get("/definitions/{name}/diagram", responses=_DRAWN)
    async def definition_diagram(
        name: str,
        version: Annotated[int | None, Query(ge=1, le=2**31, description="by default the newest")] = None,
        format: Format = "mermaid",
    ) -> Response:
        """The definition as it is deployed."""
        return await drawn(mermaid(await definition(name, version)), format)

    return router
