"""What the tracker is told by its environment."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sagahook.runtime.settings import ApiSettings, DatabaseSettings
from sagahook_schemas.topics import (
    AUDIT,
    NOTIFICATIONS,
    SAGA_DEFINITIONS,
    SAGA_EVENTS,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
)
from sagahook_tracker.domain.retention import Kept, Kind

TOPICS = (WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, SAGA_EVENTS, SAGA_DEFINITIONS, NOTIFICATIONS, AUDIT)
"""What the views are made from."""


class TrackerSettings(DatabaseSettings, ApiSettings):
    status_auth: bool = Field(default=False, description="the status routes ask for a reader's key")
    session_timeout: float = Field(
        default=6.0, gt=0, description="seconds until a dead projector is replaced"
    )

    keep_history: float = Field(
        default=7 * 86_400.0,
        ge=0,
        description="seconds that the views keep what happened in sagas; 0: for ever, as the log does",
    )
    keep_history_rows: int = Field(
        default=100, ge=0, description="rows that they keep of it for each run, the newest; 0: all"
    )
    keep_finished: float = Field(
        default=90 * 86_400.0,
        ge=0,
        description="seconds that they keep webhooks and sagas of which nothing more can come; 0: for ever; else "
        "longer than the runner's SAGAHOOK_DEDUPLICATION_WINDOW",
    )
    keep_rollups: float = Field(
        default=400 * 86_400.0,
        ge=0,
        description="seconds that they keep the counts of each minute; 0: for ever",
    )
    keep_deliveries: float = Field(
        default=14 * 86_400.0,
        ge=0,
        le=28 * 86_400.0,
        description="seconds that they keep what became of outbound webhooks; the log does for 30 days; 0: for ever",
    )
    keep_audit: float = Field(
        default=60 * 86_400.0,
        ge=0,
        le=88 * 86_400.0,
        description="seconds that they keep who did what, and was refused; the log does for 90 days; 0: for ever",
    )
    cleanup_every: float = Field(
        default=3_600.0, gt=0, description="seconds between two looks for what need not be kept"
    )

    @property
    def kept(self) -> Kept:
        ages: dict[Kind, float] = {
            "history": self.keep_history,
            "finished": self.keep_finished,
            "rollups": self.keep_rollups,
            "deliveries": self.keep_deliveries,
            "audit": self.keep_audit,
        }
        return Kept({kind: age for kind, age in ages.items() if age}, self.keep_history_rows or None)

    @property
    def group(self) -> str:
        return f"{self.topic_prefix}.tracker"

    @property
    def topics(self) -> list[str]:
        return [self.topic(topic) for topic in TOPICS]

    @model_validator(mode="after")
    def _auth_has_keys(self) -> Self:
        if self.status_auth and not self.api_keys:
            raise ValueError(
                "SAGAHOOK_STATUS_AUTH is on, but no key would be accepted: set SAGAHOOK_API_KEYS to a JSON object "
                'such as {"reader": "<SHA-256 of the key, in hex>"}'
            )
        return self
