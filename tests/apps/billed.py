"""A saga whose steps another system does over Kafka: see tests/apps/plain_participant.py."""

from typing import Any

from sagahook.saga import Retry, Saga, trigger
from sagahook.saga.participant import participant_step
from sagahook_schemas.base import JsonValue

_RETRY = Retry(max=3, initial=0.05, jitter=0)
_DATA: JsonValue = {"id": "{id}", "does": "{does}"}


class Billed(Saga):
    """does: `ok`; `flaky`, each step fails once; `refused`, the second one is, for good; `stuck`, so is the undoing."""

    @trigger(source="billed", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    charge = participant_step("billing", data=_DATA, compensate=True, timeout=25, retry=_RETRY)
    ship = participant_step("billing", data=_DATA, timeout=25, retry=_RETRY)
