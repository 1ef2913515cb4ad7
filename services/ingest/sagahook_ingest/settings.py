"""What ingest is told by its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

from sagahook.runtime.source_settings import SourceSettings
from sagahook.runtime.sources import Rate, RateLimit
from sagahook_schemas.topics import BODY_LIMIT


class IngestSettings(SourceSettings):
    unsigned_rate_limit: Annotated[Rate, NoDecode] = Field(
        default=RateLimit(10.0, 20),
        description="for each client of a source that does not sign: `10/s burst 20`, `100/min`, `none`",
    )
    body_limit: int = Field(default=1024 * 1024, ge=1, le=BODY_LIMIT, description="bytes of a webhook's body")
    batch_limit: int = Field(default=100, ge=1, le=10_000, description="events that one batch may have")
    publish_timeout: float = Field(
        default=5.0, gt=0, description="seconds Kafka may take before a sender is told 503"
    )
    max_in_flight: int = Field(default=2_000, ge=1, description="webhooks that may wait for Kafka at once")
    max_in_flight_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=BODY_LIMIT,
        description="what those may take in memory; and those that are still coming in",
    )
    idempotency_hours: float = Field(
        default=24.0, gt=0, description="how long an Idempotency-Key or a delivery id is remembered"
    )
    idempotency_keys: int = Field(
        default=200_000, ge=1, description="how many are remembered; beyond it the oldest go first"
    )
