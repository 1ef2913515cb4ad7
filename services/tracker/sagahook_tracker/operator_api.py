"""The operator routes of api.md §5: each is a command onto the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse

from sagahook.runtime.acts import Who
from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Caller, Calling, Guard
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept
from sagahook_tracker.api import not_yet
from sagahook_tracker.operating import NotFound, Operating, Refused, TooMany
from sagahook_tracker.operator_bodies import (
    PLAIN,
    BulkAnswer,
    BulkBody,
    CommandAccepted,
    How,
    MigrateBody,
    OperatorBody,
    SignalBody,
)

_SAMPLE = 10

_ERRORS = {
    400: "A malformed body",
    401: "No key",
    403: "Not an operator's key",
    404: "No such saga",
    409: "The saga is not as the command needs it",
    413: "The payload is too large",
    503: "Kafka or PostgreSQL is away, or the views are behind: see Retry-After",
}

SagaId = Annotated[str, Path(max_length=256)]
Name = Annotated[str, Path(max_length=256, pattern=PLAIN)]


def operator_routes(operating: Callable[[], Operating], guard: Guard) -> APIRouter:
    """operating: asked for at each request. guard: a dependency that refuses who is no operator."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["operating"],
        dependencies=[Depends(guard)],
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    async def accepted(
        saga_id: str, action: str, body: OperatorBody, caller: Caller, command: Contract
    ) -> CommandAccepted:
        if "\0" in saga_id:
            raise ApiError(404, f"There is no saga {saga_id!r}: check the id")
        with _refusals():
            who = Who(action, body.actor, body.reason, caller)
            command_id = await operating().act(saga_id, who, command)
        return CommandAccepted(command_id=command_id, saga_id=saga_id)

    @router.post("/sagas/{saga_id}:cancel", status_code=202)
    async def cancel_saga(saga_id: SagaId, body: OperatorBody, caller: Calling) -> CommandAccepted:
        """Undo what was done."""
        command = CancelSaga(actor=body.actor, reason=body.reason)
        return await accepted(saga_id, "cancel", body, caller, command)

    @router.post("/sagas/{saga_id}:retry", status_code=202)
    async def retry_saga(saga_id: SagaId, body: OperatorBody, caller: Calling) -> CommandAccepted:
        """Go on with a suspended saga; run one that was rolled back or failed again."""
        command = RetrySaga(actor=body.actor, reason=body.reason)
        return await accepted(saga_id, "retry", body, caller, command)

    @router.post("/sagas/{saga_id}:signal/{name}", status_code=202)
    async def signal_saga(saga_id: SagaId, name: Name, body: SignalBody, caller: Calling) -> CommandAccepted:
        """Tell the saga something that one of its steps waits for, or will."""
        command = SignalSaga(
            actor=body.actor,
            reason=body.reason,
            signal=name,
            signal_id=body.signal_id or "",
            payload=_payload(body.payload),
        )
        return await accepted(saga_id, "signal", body, caller, command)

    @router.post("/sagas/{saga_id}:migrate", status_code=202)
    async def migrate_saga(saga_id: SagaId, body: MigrateBody, caller: Calling) -> CommandAccepted:
        """Go on under another version of the definition."""
        command = MigrateSaga(actor=body.actor, reason=body.reason, version=body.version)
        return await accepted(saga_id, "migrate", body, caller, command)

    @router.post("/sagas/{saga_id}/compensations/{step}:{how}", status_code=202)
    async def resolve_compensation(
        saga_id: SagaId, step: Name, how: How, body: OperatorBody, caller: Calling
    ) -> CommandAccepted:
        """What becomes of a compensation that failed for good: `retry` it, `skip` it (its effect is left behind), or
        `resolve` it (it was undone by hand)."""
        command = ResolveCompensation(actor=body.actor, reason=body.reason, step=step, how=how)
        return await accepted(saga_id, f"{how}_compensation", body, caller, command)

    @router.post("/sagas:bulk", response_model=BulkAnswer, responses={202: {"model": BulkAnswer}})
    async def act_on_sagas(body: BulkBody, caller: Calling) -> JSONResponse:
        """Without `confirm` a preview (200); with the preview's count there, and as long as it holds, the act (202)."""
        lacking = body.lacking()
        if lacking is not None:
            raise ApiError(400, f"body.{lacking}")
        checked = body.model_copy(update={"payload": _payload(body.payload)})
        with _refusals():
            return await _bulk(operating(), checked, caller)

    return router


async def _bulk(operating: Operating, body: BulkBody, caller: Caller) -> JSONResponse:
    selected = await operating.select(body.filter.filter(), body.commands)
    bulk_id = None
    if body.confirm is not None:
        if body.confirm != len(selected):
            raise ApiError(
                409,
                f"It would reach {len(selected)} sagas by now, not {body.confirm}: look again, and confirm "
                f"{len(selected)} if that is right",
            )
        who = Who(f"bulk_{body.action}", body.actor, body.reason, caller)
        bulk_id = await operating.act_on_all(selected, who)
    sample = [one.run.saga_id for one in selected[:_SAMPLE]]
    answer = BulkAnswer(count=len(selected), sample=sample, bulk_id=bulk_id)
    return JSONResponse(answer.model_dump(), 200 if body.confirm is None else 202)


def _payload(payload: JsonValue) -> JsonValue:
    try:
        return kept(payload, CONTEXT_LIMIT)
    except NotKept as refused:
        raise ApiError(
            413 if str(refused).startswith("too_large") else 400, f"body.payload: {refused}"
        ) from None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        with not_yet():
            yield
    except NotFound as unknown:
        raise ApiError(404, str(unknown)) from unknown
    except Refused as refused:
        raise ApiError(409, str(refused)) from refused
    except TooMany as many:
        raise ApiError(400, str(many)) from many
