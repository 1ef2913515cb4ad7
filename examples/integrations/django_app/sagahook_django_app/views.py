"""Orders: placed with an answer that waits, and looked at."""

from __future__ import annotations

import json

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from sagahook.client import NotFound
from sagahook.integrations.django.saga import saga
from sagahook_schemas.identity import saga_id


@csrf_exempt
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    status = saga.run_sync("order_created", json.loads(request.body), timeout=25)
    told = {"status": status.status, "message": status.message, "errors": list(status.saga_errors.values())}
    return JsonResponse(told, status=201 if status.status == "completed" else 409)


@require_GET
def show_order(request: HttpRequest, order_id: str) -> JsonResponse:
    try:
        order = saga.client.saga_status(saga_id("order_created", "order", order_id))
    except NotFound:
        return JsonResponse({"error": "There is no such order"}, status=404)
    return JsonResponse({"order_id": order_id, "state": order.state, "done": order.completed_steps})
