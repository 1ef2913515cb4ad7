"""What every service is told by its environment."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import NoDecode

from sagahook.runtime.api_keys import ApiKeys
from sagahook.runtime.kafka_settings import KafkaSettings
from sagahook.runtime.postgres_settings import PostgresSettings
from sagahook.runtime.settings_errors import WrongSettings, explain
from sagahook.runtime.sources import Rate, RateLimit
from sagahook.saga.brokers import Brokers
from sagahook_schemas.topics import DEFAULT_PREFIX, Topic

if TYPE_CHECKING:
    from sagahook.runtime.erasure_crypto import KeyEncryption

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ProxyHeader = Literal["x-forwarded-for", "forwarded"]
"""The one header that the proxies write. They pass the other one on as the client sent it, so it is never read."""


def _listed(given: Any) -> Any:
    return [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)]
"""Addresses and networks, comma-separated: `10.0.0.0/8, 192.0.2.7, fd00::/8`."""


class ServiceSettings(KafkaSettings):
    """Read from `SAGAHOOK_*` and from the names that deployments already use (api.md §8). A wrong value is named by its
    place alone: what stands beside it may be a secret."""

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
    stop_delay: float = Field(
        default=0.0,
        ge=0,
        description="how long requests are still taken after SIGTERM, while `/readyz` says 503 already: until load "
        "balancers know (ingest and the APIs)",
    )

    erasure_key: str = Field(
        default="",
        description="references, `env:NAME` or `file:/path`, comma-separated, to the keys under which data keys are "
        "sealed, the newest first; none: nothing can be erased ([erasure](erasure.md))",
    )

    @model_validator(mode="after")
    def _check_erasure_key(self) -> Self:
        self.key_encryption  # noqa: B018  # raises ValueError
        return self

    @property
    def key_encryption(self) -> KeyEncryption | None:
        """None where nothing can be erased. Raises ValueError, which quotes no key."""
        if not self.erasure_key:
            return None
        from sagahook.runtime.erasure_crypto import KeyEncryption  # what it needs is slow to import

        try:
            return KeyEncryption.of(self.erasure_key, os.environ)
        except ValueError as wrong:
            raise ValueError(f"SAGAHOOK_ERASURE_KEY: {wrong}") from None

    def topic(self, topic: Topic) -> str:
        """The topic's full name in this deployment."""
        return topic.name(self.topic_prefix)


class ApiSettings(ServiceSettings):
    """For the services that people and programs ask by API keys."""

    api_keys: ApiKeys = Field(
        default=(),
        description="who may call, as JSON: [keys](operating.md#keys); `sagahook keys new` makes one",
    )
    api_rate_limit: Annotated[Rate, NoDecode] = Field(
        default=RateLimit(100 / 60, 50),
        description="for each key, and for the refused calls of each client: `100/min burst 50`, `none`",
    )
    open_rate_limit: Annotated[Rate, NoDecode] = Field(
        default=RateLimit(100.0, 1_000),
        description="for each client, of the routes that ask for no key",
    )


class DatabaseSettings(ServiceSettings, PostgresSettings):
    """For the services that keep views or deliveries in PostgreSQL."""

    database_pool: int = Field(default=8, ge=1, description="connections each process may open")


def brokers_of_environment(kafka: str) -> Brokers:
    """For a command: the brokers (`host:port`, comma-separated), and how the environment says that one gets in. Raises
    WrongSettings."""
    try:
        settings = KafkaSettings(kafka=kafka)
    except ValidationError as wrong:
        raise WrongSettings(explain(wrong)) from None
    return settings.brokers


def database_url_of_environment() -> str:
    """For a command, with what the environment says of TLS. Raises WrongSettings."""
    try:
        return PostgresSettings().dsn()
    except ValidationError as wrong:
        raise WrongSettings(explain(wrong)) from None
