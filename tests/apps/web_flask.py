"""A Flask application in both forms: an ingest at its root, a client of another one below /client."""

import os

from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from sagahook.integrations import Form, client, current_correlation_id, publish
from sagahook.integrations.flask import SagaFlask


def build(form: Form) -> Flask:
    app = Flask(__name__)
    saga = SagaFlask(app, form)
    saga.register_webhook_blueprint("/webhooks")

    @app.get("/whoami")
    def whoami() -> ResponseReturnValue:
        return {"pid": os.getpid(), "correlation_id": current_correlation_id()}

    @app.post("/send")
    def send() -> ResponseReturnValue:
        return saga.send("parcels", request.get_json()).model_dump()

    @app.post("/run")
    def run() -> ResponseReturnValue:
        return saga.run_sync("parcels", request.get_json()).model_dump(mode="json")

    @app.get("/sagas/<saga_id>/diagram")
    def diagram(saga_id: str) -> ResponseReturnValue:
        return saga.client.saga_diagram(saga_id)

    return app


app = DispatcherMiddleware(build(publish()), {"/client": build(client())})
