"""What a service says of itself: `/health`, the probes and `/metrics` (api.md §7)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sagahook.runtime.metrics import HEALTH, tell_ready
from sagahook_schemas.base import AwareDatetime
from sagahook_schemas.envelope import rfc3339

if TYPE_CHECKING:
    from fastapi import APIRouter

Status = Literal["healthy", "degraded", "unhealthy"]
Check = Callable[[], Awaitable[Status]]

SEVERITY: dict[Status, int] = {"healthy": 0, "degraded": 1, "unhealthy": 2}


class HealthBody(BaseModel):
    status: Status
    timestamp: AwareDatetime
    checks: dict[str, Status] = Field(description="by what was looked at")
    uptime: float = Field(description="seconds")


class ProbeBody(BaseModel):
    status: Literal["ok", "unavailable"]


class Healthy(Protocol):
    """What the probes ask; a process that holds several services answers for all of them."""

    def is_started(self) -> bool:
        """Whether what it cannot do without was there once: its topics, its tables."""
        ...

    def is_live(self) -> bool:
        """Whether its loop turns. A dependency that is away is no reason to start it anew."""
        ...

    async def is_ready(self) -> bool:
        """Whether it can do its work now."""
        ...

    def stop(self) -> None:
        """It is going to end: it is ready no more."""
        ...

    async def report(self) -> dict[str, Any]:
        """`{status, timestamp, checks: {name: status}, uptime in seconds}` (api.md §7)."""
        ...


class Health:
    """The checks of one service.

    A check answers quickly and never raises for a dependency that is away; `degraded` means the service
    still does its work. Liveness looks only at `tick`: a loop that stopped, never at a dependency. Whatever a loop
    waits for is therefore bounded by much less than stalled_after (seconds).
    """

    def __init__(self, *, stalled_after: float = 120.0) -> None:
        self._checks: dict[str, Check] = {}
        self._needed: list[Check] = []
        self._since = time.monotonic()
        self._ticked: float | None = None
        self._stalled_after = stalled_after
        self._stopping = False
        self.started = False
        """What it cannot do without was there once."""
        self.ready = False
        """It has caught up, and takes part."""

    def add(self, name: str, check: Check, *, needed: bool = False) -> None:
        """needed: without it the service can do nothing of its work, and says that it is not ready."""
        self._checks[name] = check
        if needed:
            self._needed.append(check)

    def tick(self) -> None:
        """The service's main loop turned once."""
        self._ticked = time.monotonic()

    def turned(self, *, is_reading: bool) -> None:
        """As `tick`, of a loop that reads: from when on it does so once, the service takes part."""
        self.tick()
        self.ready = self.ready or is_reading

    def stop(self) -> None:
        self._stopping = True

    def is_started(self) -> bool:
        return self.started

    async def is_ready(self) -> bool:
        if not self.ready or self._stopping:
            return False
        return all([await check() == "healthy" for check in self._needed])

    def is_live(self) -> bool:
        return self._ticked is None or time.monotonic() - self._ticked < self._stalled_after

    async def report(self) -> dict[str, Any]:
        checks: dict[str, Status] = {name: await check() for name, check in self._checks.items()}
        if not self.is_live():
            checks["loop"] = "unhealthy"
        worst = max(checks.values(), key=SEVERITY.__getitem__, default="healthy")
        return {
            "status": worst,
            "timestamp": rfc3339(datetime.now(UTC)),
            "checks": checks,
            "uptime": round(time.monotonic() - self._since, 3),
        }


class _Answers:
    def __init__(self, health: Healthy) -> None:
        self._health = health

    async def health_report(self) -> JSONResponse:
        """`healthy` and `degraded` (it still does its work) are 200, `unhealthy` is 503."""
        report = await self._health.report()
        return JSONResponse(report, status_code=503 if report["status"] == "unhealthy" else 200)

    async def live(self) -> JSONResponse:
        """503: start the process anew."""
        return _probe(self._health.is_live())

    async def ready(self) -> JSONResponse:
        """503: it cannot do its work now: it catches up, stops, or what it needs is away."""
        return _probe(await self._health.is_ready())

    async def started(self) -> JSONResponse:
        """503: its topics or its tables were not there yet."""
        return _probe(self._health.is_started())

    async def metrics(self) -> Response:
        """For Prometheus."""
        for check, status in (await self._health.report())["checks"].items():
            HEALTH.labels(check).set(SEVERITY[status])
        await tell_ready()
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _probe(passed: bool) -> JSONResponse:
    return JSONResponse({"status": "ok" if passed else "unavailable"}, status_code=200 if passed else 503)


def health_routes(health: Healthy) -> APIRouter:
    """For an app that has other routes too, and documents them."""
    # FastAPI takes half a second to load: a service without other routes does without it.
    from fastapi import APIRouter

    router, answers = APIRouter(tags=["health"]), _Answers(health)
    probe: dict[str, Any] = {"response_model": ProbeBody, "responses": {503: {"model": ProbeBody}}}
    router.get("/health", response_model=HealthBody, responses={503: {"model": HealthBody}})(
        answers.health_report
    )
    router.get("/livez", name="livez", **probe)(answers.live)
    router.get("/readyz", name="readyz", **probe)(answers.ready)
    router.get("/startupz", name="startupz", **probe)(answers.started)
    router.get("/metrics", response_class=PlainTextResponse)(answers.metrics)
    return router


def health_app(health: Healthy) -> Starlette:
    """The whole HTTP face of a service that has no other."""
    answers = _Answers(health)
    by_path: dict[str, Callable[[], Awaitable[Response]]] = {
        "/health": answers.health_report,
        "/livez": answers.live,
        "/readyz": answers.ready,
        "/startupz": answers.started,
        "/metrics": answers.metrics,
    }
    return Starlette(routes=[Route(path, _served(answer)) for path, answer in by_path.items()])


def _served(answer: Callable[[], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def served(_: Request) -> Response:
        return await answer()

    return served
