"""The routes of api.md §1 and `/health`."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from sagahook.integrations.asgi import Application
from sagahook.integrations.django.saga import saga
from sagahook.integrations.gateway import Gateway


@csrf_exempt
@require_http_methods(["POST", "OPTIONS"])
def webhook(request: HttpRequest, source: str) -> HttpResponse:
    return _answered(request, lambda gateway: gateway.webhook(source))


@csrf_exempt
@require_POST
def batch(request: HttpRequest, source: str) -> HttpResponse:
    return _answered(request, lambda gateway: gateway.batch(source))


@require_GET
def status(request: HttpRequest, source: str, correlation_id: str) -> HttpResponse:
    return _answered(request, lambda gateway: gateway.status(source, correlation_id))


@require_GET
def saga_status(request: HttpRequest, saga_id: str) -> HttpResponse:
    return _answered(request, lambda gateway: gateway.saga(saga_id))


@require_GET
def health(request: HttpRequest) -> HttpResponse:
    return _answered(request, Gateway.health)


def _answered(request: HttpRequest, route: Callable[[Gateway], Application]) -> HttpResponse:
    # By its length where it has one. A chunked body Django takes for none; it ends by itself where the server says so.
    environ = request.META
    chunked = not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated")
    read = environ["wsgi.input"].read if chunked else request.read
    answer = saga.answer(route, environ, read)
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
