"""`GET /api/v1/audit`: who did what, and who was refused (api.md §8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from sagahook.runtime.http_errors import ApiError
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.audit_reading import AuditFilter, AuditReading, Outcome
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.positions import Position
from sagahook_tracker.operator_bodies import Time, Word


class AuditEntry(BaseModel):
    audit_id: str
    at: AwareDatetime
    until: AwareDatetime | None = Field(
        description="when the last came of several refusals that are alike in everything else"
    )
    count: int = Field(description="how many those were, else 1")
    service: str = Field(description="which one tells of it")
    action: str = Field(description="what was asked for: of the API's routes their operationId")
    target: str = Field(description="of what: a saga, a source, a path")
    outcome: Outcome
    actor: str = Field(description='the id of the API key; "" where none that is known was sent')
    role: str = Field(description="the key's role; of a refusal for want of a role, the one that was needed")
    reason: str = Field(description="who asked and why, in their words; or why it was refused")
    client: str = Field(description="the address that it came from")
    correlation_id: str


class AuditPage(BaseModel):
    entries: list[AuditEntry] = Field(description="the newest first")
    next_cursor: str | None = Field(description="where to go on; null at the end")


class AuditQuery(BaseModel):
    actor: Word | None = Field(default=None, description="the id of an API key")
    action: Word | None = Field(default=None, description="an operationId of the API, or `webhook.receive`")
    outcome: Outcome | None = Field(default=None, description="`done` or `refused`")
    service: Word | None = Field(default=None, description="`ingest`, `tracker` or `notifier`")
    target: Word | None = Field(default=None, description="a saga id, a source, a path")
    client: Word | None = Field(default=None, description="an address")
    before: Time | None = Field(default=None, description="what happened earlier than that")
    after: Time | None = Field(default=None, description="what happened later than that")
    limit: int = Field(default=50, ge=1, le=1_000, description="entries of a page")
    cursor: str | None = Field(
        default=None, max_length=200, description="the next_cursor of an earlier answer"
    )

    def filter(self) -> AuditFilter:
        return AuditFilter(
            actor=self.actor,
            action=self.action,
            outcome=self.outcome,
            service=self.service,
            target=self.target,
            client=self.client,
            before=self.before,
            after=self.after,
        )


def audit_routes(reading: Callable[[], AuditReading], guard: Guard) -> APIRouter:
    """reading: asked for at each request. guard: refuses who is no admin."""
    router = APIRouter(prefix="/api/v1", tags=["administration"], dependencies=[Depends(guard)])

    @router.get("/audit")
    async def list_audit(query: Annotated[AuditQuery, Query()]) -> AuditPage:
        """What operators did, and which calls were refused, by whatever matches everything that is asked for."""
        after = None if query.cursor is None else Position.from_cursor(query.cursor)
        if query.cursor is not None and after is None:
            raise ApiError(400, "query.cursor: give the next_cursor of an earlier answer, as it is")
        with not_yet():
            rows, more = await reading().page(query.filter(), query.limit, after)
        return AuditPage(
            entries=[AuditEntry.model_validate(row) for row in rows],
            next_cursor=None if more is None else more.cursor(),
        )

    return router
