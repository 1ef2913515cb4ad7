"""What the notifier is told by its environment."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from sagahook.runtime.settings import ApiSettings, DatabaseSettings, Networks
from sagahook.runtime.source_configuration import SecretField
from sagahook.runtime.source_files import Files, is_reference, resolve
from sagahook.runtime.source_settings import SourceSettings
from sagahook.runtime.sources import Sources
from sagahook_notifier.domain.endpoints import EndpointConfig
from sagahook_notifier.domain.retention import Kept
from sagahook_notifier.domain.signing import InvalidSecret, check_secret

_SHORTEST_KEY = 24
"""Characters: what is shorter was thought up by a person, and can be found by a machine."""


def _resolved(given: Any) -> Any:
    """The value of a reference, `env:NAME` or `file:/path`; anything else as it is. Raises Unusable."""
    return resolve(given, os.environ, Files()) if isinstance(given, str) and is_reference(given) else given


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < _SHORTEST_KEY:
        raise ValueError(
            f"secrets are encrypted by it: give it at least {_SHORTEST_KEY} characters, as `openssl rand -hex 32` does"
        )
    return key


def _with_secrets(given: Any) -> Any:
    """Of a list of endpoints, the secrets and the headers' values in place of their references. Raises Unusable."""
    if not isinstance(given, list):
        return given
    return [_with_its_secrets(each) if isinstance(each, dict) else each for each in given]


def _with_its_secrets(endpoint: dict[str, Any]) -> dict[str, Any]:
    found = dict(endpoint)
    if isinstance(secrets := endpoint.get("secret"), list):
        found["secret"] = [_resolved(secret) for secret in secrets]
    elif secrets is not None:
        found["secret"] = _resolved(secrets)
    if isinstance(headers := endpoint.get("headers"), dict):
        found["headers"] = {name: _resolved(value) for name, value in headers.items()}
    return found


_HOST = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*\Z")


def _host_names(given: Any) -> Any:
    """Raises ValueError."""
    if not isinstance(given, str):
        return given
    names = [name.strip().lower() for name in given.split(",") if name.strip()]
    if wrong := [name for name in names if not _HOST.match(name)]:
        raise ValueError(f"{wrong[0]} is no host name: write names without scheme and port, parted by commas")
    return names


HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_host_names)]
SecretKey = Annotated[SecretStr, BeforeValidator(_resolved), AfterValidator(_long_enough)]


class NotifierSettings(SourceSettings, DatabaseSettings, ApiSettings):
    """`endpoints` is a JSON list. Of the sources only what concerns notify URLs matters here."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    reads_secrets: ClassVar[frozenset[SecretField]] = frozenset({"secret"})

    endpoints: Annotated[tuple[EndpointConfig, ...], BeforeValidator(_with_secrets)] = Field(
        default=(), description="who is told, as a JSON list: [endpoints](endpoints.md)"
    )
    secret_key: SecretKey = Field(
        validation_alias=AliasChoices("SAGAHOOK_SECRET_KEY", "SECRET_KEY"),
        description="what endpoints' secrets are encrypted by: a long random text, or where it is, `env:NAME` or "
        "`file:/path`",
    )
    secret_key_other: SecretKey | None = Field(
        default=None,
        description="a second one that decrypts too, while the first is replaced: [endpoints](endpoints.md)",
    )
    notify_allow_private: bool = Field(
        default=False, description="also send to addresses that are not public: for development"
    )
    notify_allow_networks: Networks = Field(
        default=(),
        description="addresses and networks, comma-separated, that may be sent to though they are not public",
    )
    notify_allow_hosts: HostNames = Field(
        default=(),
        description="names, comma-separated, that may be sent to whatever their addresses; `.example.internal` is "
        "every name below that one",
    )
    notify_ca_file: Path | None = Field(
        default=None,
        description="certificates of authorities, PEM, that vouch for receivers in place of the system's",
    )
    notify_timeout: float = Field(default=15.0, gt=0, description="seconds that an attempt may take")
    notify_connect_timeout: float = Field(
        default=5.0, gt=0, description="seconds, of those, to connect, with the name's look-up and TLS"
    )
    notify_read_timeout: float = Field(
        default=10.0, gt=0, description="seconds, of those, that the receiver may be silent"
    )
    notify_lease: float = Field(default=45.0, gt=0, description="seconds that a dispatcher holds a delivery")
    notify_concurrency: int = Field(default=512, ge=1, description="attempts under way at once")
    notify_endpoint_concurrency: int = Field(default=16, ge=1, description="of those, to one endpoint")
    notify_breaker_failures: int = Field(
        default=10,
        ge=1,
        description="attempts of an endpoint that fail one after the other, by no answer or a 5xx, and open its "
        "circuit",
    )
    notify_breaker_seconds: float = Field(
        default=30.0,
        gt=0,
        description="how long nothing is sent then; doubled with each further failure, up to 300",
    )
    notify_disable_hours: float = Field(
        default=120.0,
        ge=0,
        description="an endpoint that nothing reached for so long is disabled; 0: never",
    )
    notify_drain: float = Field(
        default=8.0, ge=0, description="seconds that a stop waits for attempts under way"
    )
    notify_payload_limit: int = Field(
        default=256 * 1024,
        ge=16 * 1024,
        description="bytes of a body; what is larger is sent without its result",
    )
    notify_recover_rate: float = Field(
        default=10.0, gt=0, description="deliveries a second that a recovery or redrive sends to an endpoint"
    )
    notify_keep: float = Field(
        default=30 * 86_400.0,
        ge=0,
        description="seconds that deliveries which succeeded or were cancelled are kept, with their attempts, and "
        "what is remembered of sagas that are over; 0: everything for ever",
    )
    notify_keep_dead: float = Field(
        default=90 * 86_400.0,
        ge=0,
        description="seconds that dead letters are kept, at least as long as the others; 0: until somebody asks for "
        "them again",
    )
    cleanup_every: float = Field(
        default=3_600.0, gt=0, description="seconds between two looks for what need not be kept"
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[!-~]+)?$",
        description="where this deployment's API is reached, for the link to a result that is too large",
    )
    session_timeout: float = Field(default=6.0, gt=0, description="seconds after which a silent one is dead")

    @property
    def secret_keys(self) -> list[str]:
        """What encrypts, and what decrypts too."""
        keys = (self.secret_key, self.secret_key_other)
        return [key.get_secret_value() for key in keys if key is not None]

    @property
    def kept(self) -> Kept | None:
        """None: everything."""
        if not self.notify_keep:
            return None
        dead = timedelta(seconds=self.notify_keep_dead) if self.notify_keep_dead else None
        return Kept(timedelta(seconds=self.notify_keep), dead)

    @property
    def group(self) -> str:
        return f"{self.topic_prefix}-notifier"

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [endpoint.id for endpoint in self.endpoints]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise ValueError(f"endpoints: the id {twice[0]} is there twice")
        check_signing(self.sources)
        if self.notify_lease <= self.notify_timeout:
            raise ValueError(
                "notify_lease must be longer than notify_timeout: else every slow attempt is repeated"
            )
        if 0 < self.notify_keep_dead < self.notify_keep:
            raise ValueError(
                "notify_keep_dead must not be shorter than notify_keep: somebody may still ask for a dead letter"
            )
        return self


def check_signing(sources: Sources) -> None:
    """Whoever allows notify URLs can sign what is sent there. Raises ValueError."""
    for name, source in sources.items():
        if not source.allow_notify_url:
            continue
        if source.secret is None:
            raise ValueError(
                f"sources: {name} allows a notify URL, but has no secret to sign by: give it one"
            )
        try:
            check_secret(source.secret.get_secret_value())
        except InvalidSecret as wrong:
            raise ValueError(f"sources: {name} allows a notify URL, but {wrong}") from None
