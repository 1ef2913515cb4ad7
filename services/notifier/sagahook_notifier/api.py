"""What people may ask of the notifier over HTTP (api.md §6), with an admin key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from sagahook.runtime.acts import Acts, Who
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Caller, Calling, Guard
from sagahook_notifier.api_bodies import (
    Accepted,
    EndpointBody,
    EndpointChange,
    NewEndpoint,
    Rotation,
    Statistics,
    shown,
    statistics,
)
from sagahook_notifier.domain.endpoints import PLAIN, EndpointOptions
from sagahook_notifier.handlers.deliveries import NoSuchDelivery
from sagahook_notifier.handlers.endpoints import (
    Begin,
    Endpoints,
    Invalid,
    NoSuchEndpoint,
    Refused,
    new_id,
)

_ERRORS = {
    400: "Malformed",
    401: "No key",
    403: "A wrong key",
    429: "Too many calls: see Retry-After",
    503: "PostgreSQL or Kafka is away: see Retry-After",
}
_ONE = {404: "There is no such endpoint"}
_ACT = _ONE | {409: "Not as the endpoint is: the text says what to do first"}

Id = Annotated[str, Path(max_length=256, pattern=PLAIN)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


def described(errors: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {code: {"description": text, "model": ErrorBody} for code, text in errors.items()}


def router_for(guard: Guard) -> APIRouter:
    return APIRouter(
        prefix="/api/v1",
        tags=["outbound webhooks"],
        dependencies=[Depends(guard)],
        responses=described(_ERRORS),
    )


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except NoSuchEndpoint as unknown:
        raise ApiError(404, f"There is no endpoint {unknown}") from None
    except NoSuchDelivery as unknown:
        raise ApiError(404, f"There is no delivery {unknown}") from None
    except Refused as refused:
        raise ApiError(409, str(refused)) from None
    except Invalid as invalid:
        raise ApiError(400, str(invalid)) from None
    except Unavailable as away:
        raise ApiError(503, "The database is away: try again in a moment", retry_after=2) from away


@asynccontextmanager
async def acting(acts: Acts, caller: Caller, target: str) -> AsyncIterator[Begin]:
    """Around an act, whose beginning is in the audit log before anything is done, and whose refusal is too."""
    who = Who(caller.action, "", "", caller)

    async def begin() -> None:
        try:
            await acts.begin(who, target)
        except Unavailable as away:
            raise ApiError(
                503,
                "Kafka is away, where it is written first who does what: nothing was done, try again in a moment",
                retry_after=2,
            ) from away

    try:
        with refusals():
            yield begin
    except ApiError as error:
        if error.status_code == 503:
            acts.tell(who, "unavailable", about=target)
        else:
            acts.refused(who, target, str(error.detail), about=target)
        raise
    acts.tell(who, "accepted", about=target)


def endpoint_routes(endpoints: Callable[[], Endpoints], clock: Clock, guard: Guard, acts: Acts) -> APIRouter:
    """endpoints: asked for at each request. guard: a dependency that refuses callers."""
    router = router_for(guard)
    _add_reading(router, endpoints, clock.now)
    _add_changing(router, endpoints, clock.now, acts)
    _add_acting(router, endpoints, clock.now, acts)
    return router


def _add_reading(router: APIRouter, endpoints: Callable[[], Endpoints], now: Callable[[], datetime]) -> None:
    @router.get("/endpoints")
    async def list_endpoints(limit: Limit = 100, offset: Offset = 0) -> list[EndpointBody]:
        """Those that the API or the configuration made, the oldest first."""
        with refusals():
            return [shown(each, now()) for each in await endpoints().all(most=limit, skipped=offset)]

    @router.get("/endpoints/{endpoint_id}", responses=described(_ONE))
    async def get_endpoint(endpoint_id: Id) -> EndpointBody:
        """Also one that a webhook named by `X-Notify-URL`."""
        with refusals():
            return shown(await endpoints().get(endpoint_id), now())

    @router.get("/endpoints/{endpoint_id}/stats", responses=described(_ONE))
    async def get_statistics(endpoint_id: Id, hours: Annotated[int, Query(ge=1, le=720)] = 24) -> Statistics:
        """How its deliveries of the last hours went, and how it is doing now."""
        with refusals():
            return statistics(endpoint_id, await endpoints().statistics(endpoint_id, hours))


def _add_changing(
    router: APIRouter, endpoints: Callable[[], Endpoints], now: Callable[[], datetime], acts: Acts
) -> None:
    @router.post("/endpoints", status_code=201, responses=described({409: "There is an endpoint of that id"}))
    async def add_endpoint(body: NewEndpoint, caller: Calling) -> EndpointBody:
        """The answer shows the secret; no other answer will."""
        id = body.id or new_id()
        async with acting(acts, caller, id) as begin:
            made, secret = await endpoints().add(
                body.options(), begin, id=id, secret=body.secret, scheme=body.signature
            )
        return shown(made, now(), secret)

    @router.patch("/endpoints/{endpoint_id}", responses=described(_ACT))
    async def change_endpoint(endpoint_id: Id, body: EndpointChange, caller: Calling) -> EndpointBody:
        """Changes what the body has, and leaves the rest. A header whose value is sent as it is shown stays."""
        async with acting(acts, caller, endpoint_id) as begin:
            after = await endpoints().change(endpoint_id, body.changed(), begin)
        return shown(after, now())

    @router.put("/endpoints/{endpoint_id}", responses=described(_ACT))
    async def replace_endpoint(endpoint_id: Id, body: EndpointOptions, caller: Calling) -> EndpointBody:
        """What the body lacks becomes what it is by default. Its secrets stay."""
        options = {name: getattr(body, name) for name in EndpointOptions.model_fields}
        async with acting(acts, caller, endpoint_id) as begin:
            after = await endpoints().change(endpoint_id, options, begin)
        return shown(after, now())

    @router.delete("/endpoints/{endpoint_id}", status_code=204, responses=described(_ACT))
    async def remove_endpoint(endpoint_id: Id, caller: Calling) -> Response:
        """Nothing more is sent to it. Its deliveries stay to be read."""
        async with acting(acts, caller, endpoint_id) as begin:
            await endpoints().remove(endpoint_id, begin)
        return Response(status_code=204)


def _add_acting(
    router: APIRouter, endpoints: Callable[[], Endpoints], now: Callable[[], datetime], acts: Acts
) -> None:
    @router.post("/endpoints/{endpoint_id}:rotate-secret", responses=described(_ACT))
    async def rotate_secret(
        endpoint_id: Id, body: Annotated[Rotation, Body(default_factory=Rotation)], caller: Calling
    ) -> EndpointBody:
        """A new secret, shown in this answer alone. Those before it sign beside it for a while, so that receivers can
        be given the new one meanwhile."""
        async with acting(acts, caller, endpoint_id) as begin:
            after, secret = await endpoints().rotate(
                endpoint_id,
                begin,
                secret=body.secret,
                scheme=body.signature,
                overlap=timedelta(seconds=body.overlap),
            )
        return shown(after, now(), secret)

    @router.post("/endpoints/{endpoint_id}:test", status_code=202, responses=described(_ACT))
    async def test_endpoint(endpoint_id: Id, caller: Calling) -> Accepted:
        """Sends it `endpoint.test`, which says nothing. What came of it is read as of any delivery."""
        async with acting(acts, caller, endpoint_id) as begin:
            made = await endpoints().test(endpoint_id, begin)
        return Accepted(delivery_id=made)

    @router.post("/endpoints/{endpoint_id}:enable", responses=described(_ACT))
    async def enable_endpoint(endpoint_id: Id, caller: Calling) -> EndpointBody:
        """Also after it was switched off because it failed: what waits for it is sent then."""
        async with acting(acts, caller, endpoint_id) as begin:
            after = await endpoints().enable(endpoint_id, begin)
        return shown(after, now())
