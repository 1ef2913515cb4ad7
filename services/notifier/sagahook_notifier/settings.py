"""What the notifier is told by its environment."""

from __future__ import annotations

import os
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from sagahook.runtime.keys import KeyHashes
from sagahook.runtime.settings import DatabaseSettings
from sagahook.runtime.source_configuration import SecretField
from sagahook.runtime.source_files import Files, is_reference, resolve
from sagahook.runtime.source_settings import SourceSettings
from sagahook.runtime.sources import Sources
from sagahook_notifier.domain.endpoints import EndpointConfig
from sagahook_notifier.domain.signing import InvalidSecret, signing_key


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


SecretKey = Annotated[SecretStr, BeforeValidator(_resolved), AfterValidator(_long_enough)]


class NotifierSettings(SourceSettings, DatabaseSettings):
    """`endpoints` is a JSON list. Of the sources only what concerns notify URLs matters here."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    reads_secrets: ClassVar[frozenset[SecretField]] = frozenset({"secret"})

    endpoints: tuple[EndpointConfig, ...] = Field(
        default=(), description="who is told, as a JSON list (see the README)"
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
    api_keys: KeyHashes = Field(default_factory=dict, description="the SHA-256 of each role's key, in hex")
    notify_allow_private: bool = Field(
        default=False, description="also send to addresses that are not public: for development"
    )
    notify_timeout: float = Field(default=15.0, gt=0, description="seconds that an attempt may take")
    notify_connect_timeout: float = Field(default=5.0, gt=0, description="seconds, of those, to connect")
    notify_lease: float = Field(default=45.0, gt=0, description="seconds that a dispatcher holds a delivery")
    notify_concurrency: int = Field(default=256, ge=1, description="attempts under way at once")
    notify_endpoint_concurrency: int = Field(default=16, ge=1, description="of those, to one endpoint")
    notify_drain: float = Field(
        default=8.0, ge=0, description="seconds that a stop waits for attempts under way"
    )
    notify_payload_limit: int = Field(
        default=256 * 1024, ge=16 * 1024, description="bytes of a body; what is larger is sent without its result"
    )
    notify_recover_rate: float = Field(
        default=10.0, gt=0, description="deliveries a second that a recovery or redrive sends to an endpoint"
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
            signing_key(source.secret.get_secret_value())
        except InvalidSecret as wrong:
            raise ValueError(f"sources: {name} allows a notify URL, but {wrong}") from None
