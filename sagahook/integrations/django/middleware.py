"""Takes each request's `X-Correlation-ID`, or makes one, and echoes it; and answers for what is away."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from sagahook.integrations.correlation import begin_request, end_request
from sagahook.integrations.django.saga import form
from sagahook.integrations.errors import TOLD, told
from sagahook.integrations.wsgi import scope_of
from sagahook.runtime.http_errors import CORRELATION_HEADER

GetResponse = Callable[[HttpRequest], HttpResponse]


class SagahookMiddleware:
    """Raises WrongSettings, when the server loads the application."""

    def __init__(self, get_response: GetResponse) -> None:
        form().check()
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        correlation_id = begin_request(request.headers.get(CORRELATION_HEADER))
        try:
            response = self._get_response(request)
            response.headers.setdefault(CORRELATION_HEADER, correlation_id)
            return response
        finally:
            end_request()

    def process_exception(self, request: HttpRequest, raised: Exception) -> HttpResponse | None:
        """A view whose call of sagahook failed because something is away."""
        if not isinstance(raised, TOLD):
            return None
        response = told(raised, scope_of(request.META))
        return HttpResponse(bytes(response.body), status=response.status_code, headers=dict(response.headers))
