"""What a service says of itself: `/health`, the probes and `/metrics` (api.md §7)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel, Field

from sagahook.runtime.metrics import HEALTH
from sagahook_schemas.base import AwareDatetime
from sagahook_schemas.envelope import rfc3339

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

    @property
    def ready(self) -> bool: ...

    def is_live(self) -> bool: ...

    async def report(self) -> dict[str, Any]:
        """`{status, timestamp, checks: {name: status}, uptime in seconds}` (api.md §7)."""
        ...


class Health:
    """The checks of one service.

    A check answers quickly and never raises for a dependency that is away; `degraded` means the service
    still does its work. Liveness looks only at `tick`: a loop that stopped, never at a dependency.
    """

    def __init__(self, *, stalled_after: float = 60.0) -> None:
        self._checks: dict[str, Check] = {}
        self._started = time.monotonic()
        self._ticked: float | None = None
        self._stalled_after = stalled_after
        self.ready = False

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def tick(self) -> None:
        """The service's main loop turned once."""
        self._ticked = time.monotonic()

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
            "uptime": round(time.monotonic() - self._started, 3),
        }


def health_routes(health: Healthy) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health", response_model=HealthBody, responses={503: {"model": HealthBody}})
    async def health_report() -> JSONResponse:
        """`healthy` and `degraded` (it still does its work) are 200, `unhealthy` is 503."""
        report = await health.report()
        return JSONResponse(report, status_code=503 if report["status"] == "unhealthy" else 200)

    @router.get("/livez", name="livez", response_model=ProbeBody, responses={503: {"model": ProbeBody}})
    async def live() -> JSONResponse:
        """503: start the process anew."""
        return _probe(health.is_live())

    @router.get("/readyz", name="readyz", response_model=ProbeBody, responses={503: {"model": ProbeBody}})
    @router.get("/startupz", name="startupz", response_model=ProbeBody, responses={503: {"model": ProbeBody}})
    async def ready() -> JSONResponse:
        """503: it cannot do its work yet."""
        return _probe(health.ready)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        for check, status in (await health.report())["checks"].items():
            HEALTH.labels(check).set(SEVERITY[status])
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router


def _probe(passed: bool) -> JSONResponse:
    return JSONResponse({"status": "ok" if passed else "unavailable"}, status_code=200 if passed else 503)


def health_app(health: Health) -> FastAPI:
    """The whole HTTP face of a service that has no other."""
    app = FastAPI(title="sagahook health", docs_url=None, redoc_url=None)
    app.include_router(health_routes(health))
    return app
