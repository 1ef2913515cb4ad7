"""The OpenAPI documents of the services, as they serve them."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def documents() -> dict[str, dict[str, Any]]:
    """By the service's name. Nothing is connected to: the addresses are never used. Made once: it takes seconds."""
    from pydantic import SecretStr

    from sagahook_ingest.settings import IngestSettings
    from sagahook_ingest.wiring import build_app as ingest
    from sagahook_tracker.settings import TrackerSettings
    from sagahook_tracker.wiring import build_app as tracker

    nowhere = "kafka:9092"
    return {
        "ingest": ingest(IngestSettings(kafka=nowhere)).openapi(),
        "tracker": tracker(
            TrackerSettings(kafka=nowhere, database_url=SecretStr("postgresql://nowhere/"))
        ).openapi(),
    }
