"""The FastAPI application. It is an ingest itself: what it takes is durable in Kafka before it answers."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sagahook.client import NotFound
from sagahook.client.models import SagaDetails, WebhookStatus
from sagahook.integrations.fastapi import SagaFastAPI
from sagahook_schemas.identity import saga_id

app = FastAPI(title="Orders")
saga = SagaFastAPI(app)  # SAGAHOOK_KAFKA says which Kafka, SAGAHOOK_URL where the status API is


class Order(BaseModel):
    order_id: str
    amount: float
    items: list[str] = []


@app.post("/orders", status_code=202)
async def place_order(order: Order, response: Response) -> Order:
    """Answered as soon as it is safe; `Location` says where to look."""
    await saga.send("order_created", order.model_dump(mode="json"))
    response.headers["Location"] = f"/orders/{order.order_id}"
    return order


@app.post("/orders/now", status_code=200)
async def place_order_and_wait(order: Order) -> WebhookStatus:
    """Answered when it is shipped, or undone."""
    return await saga.run("order_created", order.model_dump(mode="json"), timeout=25)


@app.get("/orders/{order_id}")
async def show_order(order_id: str, wait: float = 0) -> SagaDetails:
    """wait: seconds for which to wait for its end, at most 30."""
    return await saga.client.saga_status(saga_id("order_created", "order", order_id), wait=wait)


@app.exception_handler(NotFound)
async def no_such_order(request: Request, _: Exception) -> JSONResponse:
    """Nor is there, for a moment, one that was just placed: its saga has not started yet."""
    return JSONResponse({"error": "There is no such order yet"}, 404)
