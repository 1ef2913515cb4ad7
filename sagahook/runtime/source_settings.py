"""The settings by which a service knows its sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.source_configuration import (
    GITHUB_SECRET,
    SecretField,
    SourceConfiguration,
    github_secrets,
)
from sagahook.runtime.sources import Sources


class SourceSettings(ServiceSettings):
    """`sources` is all that is configured, wherever it is, with the secrets in place of their references.

    reads_secrets: those that the service needs; it is not told the others.
    """

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    reads_secrets: ClassVar[frozenset[SecretField]] = frozenset({"secrets"})

    sources: Annotated[Sources, NoDecode] = Field(
        default_factory=dict,
        description="senders and how they sign, as JSON by their names: [sources](sources.md)",
    )
    sources_file: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = Field(
        default=None,
        description="the same in a file, TOML or, by its suffix, JSON; read again when it changes",
    )
    github_webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(GITHUB_SECRET),
        description="the secret of the source `github`; `…_2` to `…_9` hold further ones while it is replaced",
    )
    _source_configuration: SourceConfiguration = PrivateAttr(default_factory=SourceConfiguration)

    @property
    def source_configuration(self) -> SourceConfiguration:
        """Where `sources` came from, to be read again."""
        return self._source_configuration

    @model_validator(mode="wrap")
    @classmethod
    def _read_sources(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Raises SourcesError, as a ValidationError."""
        settings = handler({**given, "sources": {}})
        own = settings.github_webhook_secret
        environment = dict(os.environ) | ({GITHUB_SECRET: own.get_secret_value()} if own else {})
        settings._source_configuration = SourceConfiguration(
            written=given.get("sources", {}),
            file=settings.sources_file,
            github_secrets=github_secrets(environment),
            environment=environment,
            reads=cls.reads_secrets,
        )
        settings.sources = settings._source_configuration.read().sources
        return settings
