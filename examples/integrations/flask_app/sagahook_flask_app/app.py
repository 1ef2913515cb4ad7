"""The Flask application. It is an ingest itself: what it takes is durable in Kafka before it answers."""

from __future__ import annotations

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from sagahook.client import NotFound
from sagahook.integrations.flask import SagaFlask
from sagahook_schemas.identity import saga_id

app = Flask(__name__)
saga = SagaFlask(app)  # SAGAHOOK_KAFKA says which Kafka, SAGAHOOK_URL where the status API is
saga.register_webhook_blueprint("/webhooks")


@app.post("/orders")
def place_order() -> ResponseReturnValue:
    """Waits for the saga; a browser that does not want to sends a webhook, and asks for its status."""
    status = saga.run_sync("order_created", request.get_json(), timeout=25)
    told = {"status": status.status, "message": status.message, "errors": list(status.saga_errors.values())}
    return told, 201 if status.status == "completed" else 409


@app.get("/orders/<order_id>")
def show_order(order_id: str) -> ResponseReturnValue:
    order = saga.client.saga_status(saga_of(order_id))
    return {"order_id": order_id, "state": order.state, "done": order.completed_steps, "error": order.error}


@app.get("/orders/<order_id>/diagram")
def draw_order(order_id: str) -> ResponseReturnValue:
    """Mermaid: which steps were done, failed, undone."""
    return Response(saga.client.saga_diagram(saga_of(order_id)), mimetype="text/plain")


@app.errorhandler(NotFound)
def no_such_order(_: NotFound) -> ResponseReturnValue:
    return {"error": "There is no such order"}, 404


def saga_of(order_id: str) -> str:
    """An order has one saga, whose id follows from its own."""
    return saga_id("order_created", "order", order_id)
