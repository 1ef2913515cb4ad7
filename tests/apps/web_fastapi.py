"""A FastAPI application in both forms: an ingest at its root, a client of another one below /client."""

import os
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse

from sagahook.client import WebhookAccepted
from sagahook.client.models import WebhookStatus
from sagahook.integrations import client, current_correlation_id, publish
from sagahook.integrations.fastapi import SagaFastAPI


def routes(saga: SagaFastAPI) -> APIRouter:
    router = APIRouter()

    @router.get("/whoami")
    async def whoami() -> dict[str, Any]:
        return {"pid": os.getpid(), "correlation_id": current_correlation_id()}

    @router.post("/send")
    async def send(event: dict[str, Any]) -> WebhookAccepted:
        return await saga.send("parcels", event)

    @router.post("/run")
    async def run(event: dict[str, Any]) -> WebhookStatus:
        return await saga.run("parcels", event)

    @router.get("/sagas/{saga_id}/diagram", response_class=PlainTextResponse)
    async def diagram(saga_id: str) -> str:
        return await saga.client.saga_diagram(saga_id)

    return router


app = FastAPI()
app.include_router(routes(SagaFastAPI(app, publish())))

handing_on = SagaFastAPI(form=client())
app.include_router(handing_on.router, prefix="/client")
app.include_router(routes(handing_on), prefix="/client")
