"""Flask.

app = Flask(__name__)
saga = SagaFlask(app)
saga.register_webhook_blueprint("/webhooks")

@app.post("/orders")
def order():
    return saga.run_sync("order_created", request.get_json()).model_dump(mode="json")
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Flask, Response, request

from sagahook.integrations.asgi import Application
from sagahook.integrations.blocking import Waiting
from sagahook.integrations.correlation import begin_request, current_correlation_id, end_request
from sagahook.integrations.errors import TOLD, told
from sagahook.integrations.forms import Form, publish
from sagahook.integrations.gateway import Gateway
from sagahook.integrations.wsgi import scope_of
from sagahook.runtime.http_errors import CORRELATION_HEADER


class SagaFlask(Waiting):
    """form: `publish()` unless it is given. health: where `/health` is; None: nowhere."""

    def __init__(
        self, app: Flask | None = None, form: Form | None = None, *, health: str | None = "/health"
    ) -> None:
        self._form = form or publish()
        self._health = health
        self._app: Flask | None = None
        super().__init__(self._form)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """For an app that a function makes. Raises WrongSettings."""
        self._form.check()
        self._app = app
        app.extensions["sagahook"] = self
        app.before_request(_begin)
        app.after_request(_echo)
        app.teardown_request(_end)
        for kind in TOLD:
            app.register_error_handler(kind, _refused)
        if self._health is not None:
            app.add_url_rule(self._health, "sagahook_health", lambda: self._answered(Gateway.health))

    def register_webhook_blueprint(self, url_prefix: str = "/webhooks") -> Blueprint:
        """The routes of api.md §1 under the prefix. Where something of your own comes before them, a key say, register
        `routes()` yourself."""
        if self._app is None:
            raise RuntimeError("SagaFlask has no app yet: call init_app first")
        blueprint = self.routes()
        self._app.register_blueprint(blueprint, url_prefix=url_prefix)
        return blueprint

    def routes(self) -> Blueprint:
        """Those of `register_webhook_blueprint`, on a blueprint that is not registered yet."""
        routes = Blueprint("sagahook", __name__)

        @routes.route("/<source>", methods=["POST", "OPTIONS"], provide_automatic_options=False)
        def webhook(source: str) -> Response:
            return self._answered(lambda gateway: gateway.webhook(source))

        @routes.post("/<source>/batch")
        def batch(source: str) -> Response:
            return self._answered(lambda gateway: gateway.batch(source))

        @routes.get("/<source>/status/<correlation_id>")
        def status(source: str, correlation_id: str) -> Response:
            return self._answered(lambda gateway: gateway.status(source, correlation_id))

        @routes.get("/status/<saga_id>")
        def saga(saga_id: str) -> Response:
            return self._answered(lambda gateway: gateway.saga(saga_id))

        return routes

    def _answered(self, route: Callable[[Gateway], Application]) -> Response:
        answer = self.answer(route, request.environ, request.stream.read)
        return Response(answer.body, answer.status, answer.headers)


def _begin() -> None:
    begin_request(request.headers.get(CORRELATION_HEADER))


def _echo(response: Response) -> Response:
    response.headers.setdefault(CORRELATION_HEADER, current_correlation_id())
    return response


def _end(_: BaseException | None) -> None:
    end_request()


def _refused(raised: Exception) -> Response:
    response = told(raised, scope_of(request.environ))
    return Response(bytes(response.body), response.status_code, dict(response.headers))
