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

TOPICS = (WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, SAGA_EVENTS, SAGA_DEFINITIONS, NOTIFICATIONS, AUDIT)
"""What the views are made from."""


class TrackerSettings(DatabaseSettings, ApiSettings):
    status_auth: bool = Field(default=False, description="the status routes ask for a reader's key")
    session_timeout: float = Field(
        default=6.0, gt=0, description="seconds until a dead projector is replaced"
    )

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
