"""What every service is told by its environment."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sagahook_schemas.topics import DEFAULT_PREFIX, Topic

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

Role = Literal["reader", "operator", "admin"]
KeyHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KeyHashes = dict[Role, KeyHash]
"""The SHA-256 of each role's API key, in hex; as JSON in `SAGAHOOK_API_KEYS`."""

ProxyHeader = Literal["x-forwarded-for", "forwarded"]
"""The one header that the proxies write. They pass the other one on as the client sent it, so it is never read."""


def _listed(given: Any) -> Any:
    return [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)]
"""Addresses and networks, comma-separated: `10.0.0.0/8, 192.0.2.7, fd00::/8`."""


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
    trusted_proxies: Networks = Field(
        default=(),
        description="addresses and networks, comma-separated, whose word on where a request comes from is believed",
    )
    proxy_header: ProxyHeader = Field(
        default="x-forwarded-for", description="the header that those proxies write"
    )
    http_header_seconds: float = Field(
        default=10.0, gt=0, description="a request's head must have come within; else 408"
    )
    http_body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="a body must have come within, besides what http_body_rate adds; else 408",
    )
    http_body_rate: int = Field(
        default=10_000, ge=1, description="bytes of a body that earn it another second"
    )
    http_idle_seconds: float = Field(
        default=75.0, gt=0, description="how long a connection may wait for its next request"
    )
    http_header_bytes: int = Field(default=32 * 1024, ge=1024, description="of a request's head; else 431")
    http_headers: int = Field(default=100, ge=1, description="headers of a request; else 431")
    http_target_bytes: int = Field(default=8 * 1024, ge=64, description="of a request's target; else 414")
    http_pipeline: int = Field(
        default=16, ge=1, description="requests that may wait behind one on its connection; then it is closed"
    )
    http_connections: int = Field(
        default=4_096, ge=1, description="open at once; beyond it idle ones are closed, then 503"
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
