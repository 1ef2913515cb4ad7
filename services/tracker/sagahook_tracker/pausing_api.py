"""`/api/v1/definitions` and `/api/v1/sources`: what is deployed, paused and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from sagahook.runtime.acts import Who
from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Caller, Calling, Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_schemas.definitions import ControlKind
from sagahook_tracker.answers import Answers
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.deployment import Pausable
from sagahook_tracker.operating import NotFound
from sagahook_tracker.operator_bodies import PLAIN, OperatorBody
from sagahook_tracker.pausing import Pausing

_ERRORS = {
    401: "No key",
    403: "A wrong key",
    503: "Kafka or PostgreSQL is away, or the views are behind: see Retry-After",
}
_ACT_ERRORS = _ERRORS | {400: "A malformed body", 404: "Nothing of that name is deployed"}

Name = Annotated[str, Path(max_length=256, pattern=PLAIN)]
Act = Literal["pause", "resume"]


class PauseState(BaseModel):
    paused: bool
    actor: str | None = Field(description="who paused or resumed it last")
    reason: str | None
    set_at: AwareDatetime | None


class DefinitionSummary(PauseState):
    name: str
    versions: list[int]
    deployed_at: AwareDatetime | None = Field(description="the newest version")
    sources: list[str] = Field(description="whose webhooks start the newest version")


class SourceSummary(PauseState):
    source: str
    definitions: list[str] = Field(description="what its webhooks start")


class DefinitionsBody(BaseModel):
    definitions: list[DefinitionSummary]


class SourcesBody(BaseModel):
    sources: list[SourceSummary]


class ControlAccepted(BaseModel):
    command_id: str
    kind: ControlKind
    name: str
    paused: bool


def deployment_routes(answers: Callable[[], Answers], guard: Guard) -> APIRouter:
    """answers: asked for at each request. guard: a dependency that refuses callers."""
    router = _router(guard, _ERRORS)

    @router.get("/definitions")
    async def list_definitions() -> DefinitionsBody:
        """Every saga that is deployed, and whether it is paused."""
        with not_yet():
            deployment = await answers().deployment()
        return DefinitionsBody(definitions=[_definition(each) for each in deployment.definitions])

    @router.get("/sources")
    async def list_sources() -> SourcesBody:
        """Every source whose webhooks start something, and whether it is paused."""
        with not_yet():
            deployment = await answers().deployment()
        return SourcesBody(
            sources=[
                SourceSummary(source=each.name, definitions=list(each.definitions), **_pause(each))
                for each in deployment.sources
            ]
        )

    return router


def pausing_routes(pausing: Callable[[], Pausing], guard: Guard) -> APIRouter:
    """pausing: asked for at each request. guard: a dependency that refuses who is no operator."""
    router = _router(guard, _ACT_ERRORS)

    async def act(
        kind: ControlKind, name: str, what: Act, body: OperatorBody, caller: Caller
    ) -> ControlAccepted:
        paused = what == "pause"
        who = Who(f"{what}_{kind}", body.actor, body.reason, caller)
        try:
            with not_yet():
                command_id = await pausing().set(kind, name, who, paused=paused)
        except NotFound as unknown:
            raise ApiError(404, str(unknown)) from unknown
        return ControlAccepted(command_id=command_id, kind=kind, name=name, paused=paused)

    @router.post("/definitions/{name}:{what}", status_code=202)
    async def pause_or_resume_definition(
        name: Name, what: Act, body: OperatorBody, caller: Calling
    ) -> ControlAccepted:
        """`pause`: its sagas that start from now on, of any version, are held; those that run go on. `resume`: what was
        held is let go, in the order of its start."""
        return await act("definition", name, what, body, caller)

    @router.post("/sources/{name}:{what}", status_code=202)
    async def pause_or_resume_source(
        name: Name, what: Act, body: OperatorBody, caller: Calling
    ) -> ControlAccepted:
        """`pause`: its webhooks are accepted, and the sagas that they start are held. `resume`: as above."""
        return await act("source", name, what, body, caller)

    return router


def _router(guard: Guard, errors: dict[int, str]) -> APIRouter:
    return APIRouter(
        prefix="/api/v1",
        tags=["operating"],
        dependencies=[Depends(guard)],
        responses={code: {"description": text, "model": ErrorBody} for code, text in errors.items()},
    )


def _definition(found: Pausable) -> DefinitionSummary:
    newest = found.versions[-1] if found.versions else None
    return DefinitionSummary(
        name=found.name,
        versions=[each.definition.version for each in found.versions],
        deployed_at=None if newest is None else newest.deployed_at,
        sources=list(found.sources),
        **_pause(found),
    )


def _pause(found: Pausable) -> dict[str, object]:
    control = found.control
    return {
        "paused": found.paused,
        "actor": None if control is None else control.actor,
        "reason": None if control is None else control.reason,
        "set_at": None if control is None else control.at,
    }
