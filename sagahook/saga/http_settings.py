"""What the environment says about calls of other systems."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*\Z")
"""No line break, no NUL, no other control character: one header stays one."""


class HttpSettings(BaseSettings):
    """Read when the first call is made. Nothing of it is shown in an error."""

    model_config = SettingsConfigDict(
        env_prefix="SAGAHOOK_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    internal_headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="headers that only internal hosts are sent, as JSON"
    )
    internal_token: SecretStr | None = Field(
        default=None, description="sent to internal hosts as X-INTERNAL-TOKEN"
    )
    internal_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="which hosts are internal, comma-separated: a name, or .suffix for all names that end so",
    )
    http_connections_per_host: int = Field(
        default=100, ge=1, description="connections to one host that are open at once"
    )

    @field_validator("internal_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Comma-separated, or a JSON list."""
        if not isinstance(value, str):
            return value
        return tuple(host for part in value.strip("[] ").split(",") if (host := part.strip(" \"'")))

    @field_validator("internal_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host.strip(".") or "/" in host or "*" in host:
                raise ValueError(
                    "an internal host is a name such as billing.local, or .local for all below it"
                )
        return tuple(_plain(host) for host in hosts)

    @field_validator("internal_headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not HEADER_NAME.match(name) or not HEADER_VALUE.match(value.get_secret_value()):
                raise ValueError("an internal header's name or value cannot stand in an HTTP request")
        return headers

    @field_validator("internal_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not HEADER_VALUE.match(token.get_secret_value()):
            raise ValueError("the internal token cannot stand in an HTTP header")
        return token

    def headers_for(self, host: str) -> dict[str, str]:
        """The internal headers, revealed, where the host is internal; else none."""
        host = _plain(host)
        if not any(host.endswith(own) if own.startswith(".") else host == own for own in self.internal_hosts):
            return {}
        headers = {name: value.get_secret_value() for name, value in self.internal_headers.items()}
        if self.internal_token is not None and self.internal_token.get_secret_value():
            headers["X-INTERNAL-TOKEN"] = self.internal_token.get_secret_value()
        return headers


def _plain(host: str) -> str:
    """Names are the same in capitals, and with the root's dot."""
    return host.strip().lower().removesuffix(".")
