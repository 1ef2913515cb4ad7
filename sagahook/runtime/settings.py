"""What every service is told by its environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook_schemas.topics import DEFAULT_PREFIX, Topic

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

Role = Literal["reader", "operator", "admin"]
KeyHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KeyHashes = dict[Role, KeyHash]
"""The SHA-256 of each role's API key, in hex; as JSON in `SAGAHOOK_API_KEYS`."""


class ServiceSettings(BaseSettings):
    """Read from `SAGAHOOK_*` and from the names that deployments already use (api.md §8)."""

    model_config = SettingsConfigDict(env_prefix="SAGAHOOK_", extra="ignore", populate_by_name=True)

    kafka: str = Field(description="bootstrap servers, host:port, comma-separated")
    topic_prefix: str = Field(default=DEFAULT_PREFIX, description="what every topic's name begins with")
    instance: str = Field(default="", description="this replica's name in logs and in the saga log")
    http_host: str = Field(default="127.0.0.1", description="where HTTP is served")
    http_port: int = Field(default=0, description="0 picks a free port")
    log_level: LogLevel = Field(
        default="INFO", validation_alias=AliasChoices("LOG_LEVEL", "SAGAHOOK_LOG_LEVEL")
    )

    def topic(self, topic: Topic) -> str:
        """The topic's full name in this deployment."""
        return topic.name(self.topic_prefix)


class DatabaseSettings(ServiceSettings):
    """For the services that keep views or deliveries in PostgreSQL."""

    database_url: SecretStr = Field(
        validation_alias=AliasChoices("DATABASE_URL", "SAGAHOOK_DATABASE_URL"), description="postgresql://…"
    )
    database_pool: int = Field(default=8, ge=1, description="connections each process may open")
