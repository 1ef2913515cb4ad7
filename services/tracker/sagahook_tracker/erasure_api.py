"""`/api/v1/erasure`: what a subject or a source sent is erased, by deleting the key that it is sealed under."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel, Field

from sagahook.runtime.acts import Acts, Who
from sagahook.runtime.audit import Audit
from sagahook.runtime.erasable import KeysInTime
from sagahook.runtime.erasure_answers import OpenAnswers
from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Access, Caller, Calling
from sagahook_schemas.definitions import SourceName
from sagahook_tracker.api import not_yet
from sagahook_tracker.operator_bodies import OperatorBody
from sagahook_tracker.settings import TrackerSettings

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_ERRORS = {
    400: "A malformed body",
    401: "No key",
    403: "A wrong key",
    409: "Nothing is sealed here",
    503: "Kafka is away: see Retry-After",
}


class ErasureBody(OperatorBody):
    source: SourceName
    subject: Annotated[str, Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, description="whose data; none: all that the source sent"
    )


class Erased(BaseModel):
    erased: int = Field(description="data keys that were deleted; 0: there was nothing of it")


class Rewrapped(BaseModel):
    rewrapped: int = Field(description="data keys that were sealed under another key until now")


def add_erasure(app: FastAPI, settings: TrackerSettings, access: Access, audit: Audit) -> KeysInTime:
    """The routes, and whatever the other routes answer is opened. The keys are to be followed (`following`)."""
    here = KeysInTime(settings)
    if settings.erasure_key:
        app.add_middleware(OpenAnswers, keys=lambda: here.keys)
    app.include_router(_routes(here, Acts(audit), access))
    return here


@asynccontextmanager
async def following(keys: KeysInTime) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run(), name="erasure")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _routes(here: KeysInTime, acts: Acts, access: Access) -> APIRouter:
    router = APIRouter(
        prefix="/api/v1/erasure",
        tags=["administration"],
        dependencies=[Depends(access.needs("admin"))],
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    @router.post("", status_code=202)
    async def erase(body: ErasureBody, caller: Calling) -> Erased:
        """For ever: nobody can read it again, in the log or in the views. Its sagas that run are suspended."""
        keys = _known(here)
        # Who it was about stands nowhere but in the keys, which go.
        target = f"{body.source}, one subject" if body.subject is not None else body.source
        who = _who("erase", body, caller)
        with not_yet():
            await acts.begin(who, target)
            erased = await keys.erase(body.source, body.subject)
        acts.tell(who, "accepted", source=body.source, keys=erased)
        return Erased(erased=erased)

    @router.post("/keys:rewrap", status_code=202)
    async def rewrap(body: OperatorBody, caller: Calling) -> Rewrapped:
        """Seal every data key under the first key of SAGAHOOK_ERASURE_KEY, so that the others can be taken out."""
        keys = _known(here)
        who = _who("rewrap", body, caller)
        with not_yet():
            await acts.begin(who, "erasure.keys")
            rewrapped = await keys.rewrap()
        acts.tell(who, "accepted", keys=rewrapped)
        return Rewrapped(rewrapped=rewrapped)

    return router


def _who(action: str, body: OperatorBody, caller: Caller) -> Who:
    return Who(action, body.actor, body.reason, caller)


def _known(here: KeysInTime) -> DataKeys:
    """Raises ApiError."""
    if here.keys is None:
        raise ApiError(
            409,
            "Nothing is sealed here, and so nothing can be erased: set SAGAHOOK_ERASURE_KEY, and `erasure` for the "
            "sources whose data is to be erasable, before it comes",
        )
    return here.keys
