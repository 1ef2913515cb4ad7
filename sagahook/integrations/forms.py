"""In which form an application takes part, as values: nothing is read or opened before they are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook.client import SagahookError
from sagahook.client.address import Address
from sagahook.integrations.gateway import Gateway
from sagahook.runtime.settings_errors import WrongSettings, explain

if TYPE_CHECKING:
    from sagahook.integrations.publishing import PublishSettings


class Form(Protocol):
    def check(self) -> None:
        """Raises WrongSettings, which says which setting is wrong or missing."""
        ...

    def open(self) -> Gateway:
        """For one event loop. Raises WrongSettings."""
        ...


def publish(**settings: Any) -> Form:
    """The application is an ingest. settings: those of ingest by their names in lower case (`kafka`, `sources`,
    `publish_timeout`, …), and `url` and `key` of the status API; what is not given the environment says (`SAGAHOOK_*`).
    """
    return _Publish(settings)


def client(url: str | None = None, key: str | None = None) -> Form:
    """The application hands webhooks on. url: where ingest and the status API are (`SAGAHOOK_URL`). key: for what the
    application itself asks (`SAGAHOOK_KEY`)."""
    return _Client({name: value for name, value in {"url": url, "key": key}.items() if value is not None})


class ClientSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SAGAHOOK_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    url: str = Field(
        min_length=1,
        description="where the status API is, and for `client()` ingest; `publish()` needs it only to ask",
    )
    key: SecretStr | None = Field(
        default=None, description="an API key, for what the application itself asks and does"
    )


@dataclass(frozen=True)
class _Client:
    given: Mapping[str, Any] = field(repr=False)

    def check(self) -> None:
        with _in_words():
            Address.of(ClientSettings(**self.given).url)

    def open(self) -> Gateway:
        from sagahook.integrations.forwarding import Forwarding

        with _in_words():
            settings = ClientSettings(**self.given)
        return Forwarding(settings.url, settings.key.get_secret_value() if settings.key else None)


@dataclass(frozen=True)
class _Publish:
    """ingest, which is much to import, comes in only with this form."""

    given: Mapping[str, Any] = field(repr=False)

    def check(self) -> None:
        from sagahook_ingest.domain.sources import KnownSources

        with _in_words():
            KnownSources(self._settings().sources)

    def open(self) -> Gateway:
        from sagahook.integrations.publishing import Publishing

        with _in_words():
            return Publishing(self._settings())

    def _settings(self) -> PublishSettings:
        from sagahook.integrations.publishing import PublishSettings

        return PublishSettings(**self.given)


@contextmanager
def _in_words() -> Iterator[None]:
    """Raises WrongSettings, which quotes no secret."""
    try:
        yield
    except ValidationError as wrong:
        raise WrongSettings(explain(wrong)) from None
    except SagahookError as nowhere:
        raise WrongSettings(f"SAGAHOOK_URL: {nowhere}") from None
    except ValueError as unusable:  # a secret that has not its scheme's form, or a list that is no JSON
        raise WrongSettings(str(unusable)) from None
