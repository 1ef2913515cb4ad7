"""What the notifier is told by its environment."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from sagahook.runtime.settings import ApiSettings, DatabaseSettings
from sagahook.runtime.source_configuration import SecretField
from sagahook.runtime.source_settings import SourceSettings
from sagahook.runtime.sources import Sources
from sagahook_notifier.domain.endpoints import EndpointConfig
from sagahook_notifier.domain.signing import InvalidSecret, signing_key


class NotifierSettings(SourceSettings, DatabaseSettings, ApiSettings):
    """`endpoints` is a JSON list. Of the sources only what concerns notify URLs matters here."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    reads_secrets: ClassVar[frozenset[SecretField]] = frozenset({"secret"})

    endpoints: tuple[EndpointConfig, ...] = Field(
        default=(), description="who is told, as a JSON list (see the README)"
    )
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
    session_timeout: float = Field(default=6.0, gt=0, description="seconds after which a silent one is dead")

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
