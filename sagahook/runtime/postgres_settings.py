"""Where PostgreSQL is and how one gets in, as services and the command line are told by their environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook.runtime.kafka_settings import MaybeFile, Referred
from sagahook.runtime.source_files import Unusable

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_SCHEMES = ("postgresql", "postgres")


class PostgresSettings(BaseSettings):
    """`dsn()` is all of it, for asyncpg."""

    model_config = SettingsConfigDict(
        env_prefix="SAGAHOOK_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: SecretStr = Field(
        validation_alias=AliasChoices("DATABASE_URL", "SAGAHOOK_DATABASE_URL"),
        description="postgresql://…, or where that is, `env:NAME` or `file:/path`: [connections](connections.md)",
    )
    database_sslmode: SslMode | None = Field(
        default=None,
        description="`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`, where the URL says nothing "
        "else; none: `prefer`",
    )
    database_sslrootcert: MaybeFile = Field(
        default=None, description="certificates of authorities, PEM, that vouch for the server"
    )
    database_sslcert: MaybeFile = Field(
        default=None,
        description="the certificate, PEM, that this client shows, where the server asks for one",
    )
    database_sslkey: MaybeFile = Field(default=None, description="its key, PEM")
    _url: Referred = PrivateAttr()

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        """Raises ValueError, which quotes no URL: it holds a password."""
        try:
            self._url = Referred(self.database_url)
        except Unusable as unusable:
            raise ValueError(f"DATABASE_URL: {unusable}") from None
        if urlsplit(self._url()).scheme not in _SCHEMES:
            raise ValueError("DATABASE_URL: it must begin with postgresql://")
        for name, file in self._files().items():
            if not file.is_file():
                raise ValueError(f"SAGAHOOK_DATABASE_{name.upper()}: there is no file {file}")
        return self

    def dsn(self) -> str:
        """The URL as it is at the moment, with what the other settings say and it does not."""
        url = self._url()
        said = parse_qs(urlsplit(url).query)
        ours = {"sslmode": self.database_sslmode, **self._files()}
        added = "&".join(
            f"{name}={quote(str(value))}"
            for name, value in ours.items()
            if value is not None and name not in said
        )
        if not added:
            return url
        return f"{url}{'&' if '?' in url else '?'}{added}"

    def _files(self) -> dict[str, Path]:
        files = {
            "sslrootcert": self.database_sslrootcert,
            "sslcert": self.database_sslcert,
            "sslkey": self.database_sslkey,
        }
        return {name: file for name, file in files.items() if file is not None}
