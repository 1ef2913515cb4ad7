"""Several services' HTTP apps in one process, on one origin.

In production the Ingress does this, by the same paths (api.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from sagahook.runtime.health import SEVERITY, Health, health_routes
from sagahook.runtime.http_errors import install_error_handlers
from sagahook.runtime.telemetry_http import HTTP_SPANS

SHARED = frozenset({"/health", "/livez", "/readyz", "/startupz", "/metrics"})
NOTIFIER = ("/api/v1/endpoints", "/api/v1/deliveries")
WEBHOOKS = ("/webhooks/", "/api/v1/webhooks/github")
SENT = frozenset({"POST", "OPTIONS"})
"""By which senders send, and ask whether they may; what is asked for by GET the tracker knows."""


class OneOrigin:
    """Hands each request to the app that owns its path; nothing else stands between a sender and ingest."""

    def __init__(self, ingest: FastAPI, tracker: FastAPI, notifier: FastAPI) -> None:
        self._ingest, self._tracker, self._notifier = ingest, tracker, notifier
        apps = {"ingest": ingest, "tracker": tracker, "notifier": notifier}
        self.health = JointHealth({name: app.state.health for name, app in apps.items()})
        self._shared = _shared_app(apps, self.health)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._owner(scope["method"], scope["path"]) if scope["type"] == "http" else self._shared
        await app(scope, receive, send)

    def _owner(self, method: str, path: str) -> ASGIApp:
        if method in SENT and path.startswith(WEBHOOKS):
            return self._ingest
        if path.startswith(NOTIFIER):
            return self._notifier
        if path in SHARED:
            return self._shared
        return self._tracker


class JointHealth:
    """Of several services in one process: as bad as the worst, ready when all are."""

    def __init__(self, parts: Mapping[str, Health]) -> None:
        self._parts = parts

    def is_started(self) -> bool:
        return all(part.is_started() for part in self._parts.values())

    async def is_ready(self) -> bool:
        return all([await part.is_ready() for part in self._parts.values()])

    def stop(self) -> None:
        for part in self._parts.values():
            part.stop()

    def is_live(self) -> bool:
        return all(part.is_live() for part in self._parts.values())

    async def report(self) -> dict[str, Any]:
        reports = {name: await part.report() for name, part in self._parts.items()}
        return {
            "status": max((report["status"] for report in reports.values()), key=SEVERITY.__getitem__),
            "timestamp": max(report["timestamp"] for report in reports.values()),
            "checks": {
                f"{name}.{check}": status
                for name, report in reports.items()
                for check, status in report["checks"].items()
            },
            "uptime": max(report["uptime"] for report in reports.values()),
        }


def _shared_app(apps: Mapping[str, FastAPI], health: JointHealth) -> FastAPI:
    """The routes that speak for all, and the one lifespan, which runs those of the apps."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for app in apps.values():
                await running.enter_async_context(app.router.lifespan_context(app))
            yield

    shared = FastAPI(
        title="sagahook",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=HTTP_SPANS,
    )
    install_error_handlers(shared)
    shared.include_router(health_routes(health))
    return shared
