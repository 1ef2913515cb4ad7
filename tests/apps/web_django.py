"""A Django application, in the form that WEB_FORM names, in one file."""

import json
import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from sagahook.integrations import client, current_correlation_id, publish

settings.configure(
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["sagahook.integrations.django"],
    MIDDLEWARE=[
        "sagahook.integrations.django.middleware.SagahookMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SAGAHOOK=publish() if os.environ["WEB_FORM"] == "publish" else client(),
)
django.setup()

from sagahook.integrations.django.saga import saga  # noqa: E402  # as an application's own modules are, it is imported later


def whoami(_: HttpRequest) -> HttpResponse:
    return JsonResponse({"pid": os.getpid(), "correlation_id": current_correlation_id()})


@csrf_exempt
def send(request: HttpRequest) -> HttpResponse:
    return JsonResponse(saga.send("parcels", json.loads(request.body)).model_dump())


@csrf_exempt
def run(request: HttpRequest) -> HttpResponse:
    return JsonResponse(saga.run_sync("parcels", json.loads(request.body)).model_dump(mode="json"))


def diagram(_: HttpRequest, saga_id: str) -> HttpResponse:
    return HttpResponse(saga.client.saga_diagram(saga_id))


urlpatterns = [
    path("", include("sagahook.integrations.django.urls")),
    path("whoami", whoami),
    path("send", send),
    path("run", run),
    path("sagas/<str:saga_id>/diagram", diagram),
]
application = get_wsgi_application()
