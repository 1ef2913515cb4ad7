"""A saga whose steps are HTTP requests to the host at `HOST_URL`."""

import os
from typing import Any

from sagahook.saga import Retry, Saga, trigger
from sagahook.saga.http import http_request, http_step

_HOST = os.environ.get("HOST_URL", "http://127.0.0.1:9")
_RETRY = Retry(max=3, initial=0.05, jitter=0)


class Called(Saga):
    @trigger(source="called", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    charge = http_step(
        "POST",
        f"{_HOST}/charges",
        json={"order": "{id}"},
        expect=201,
        retry=_RETRY,
        compensate=http_request("DELETE", f"{_HOST}/charges/{{result.id}}", retry=_RETRY),
    )
    ship = http_step("PUT", f"{_HOST}/parcels/{{id}}", json={"charge": "{results.charge.id}"}, retry=_RETRY)
