"""Where Kafka is and how one gets in, as every service and the command line are told by their environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook.runtime.source_files import Files, Unusable, is_reference, resolve
from sagahook.saga.brokers import Brokers, KafkaSecurity, Mechanism, Protocol

log = logging.getLogger(__name__)


def _none_if_empty(given: Any) -> Any:
    return given or None


MaybeFile = Annotated[Path | None, BeforeValidator(_none_if_empty)]


class Referred:
    """A secret, or what a reference to one, `env:NAME` or `file:/path`, stands for at the moment.

    Raises Unusable where it cannot be read at first; later the last that could be read goes on.
    """

    def __init__(self, written: SecretStr) -> None:
        self._written = written.get_secret_value()
        self._last = self._read()

    def __call__(self) -> str:
        try:
            self._last = self._read()
        except Unusable as unusable:
            log.error("a secret can be read no more: %s", unusable)
        return self._last

    def _read(self) -> str:
        written = self._written
        return resolve(written, os.environ, Files()) if is_reference(written) else written


class KafkaSettings(BaseSettings):
    """`kafka` is a Brokers: whoever connects by it connects as these settings say."""

    model_config = SettingsConfigDict(
        env_prefix="SAGAHOOK_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    kafka: str = Field(description="bootstrap servers, host:port, comma-separated")
    kafka_security: Protocol = Field(
        default="PLAINTEXT",
        description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`: [connections](connections.md)",
    )
    kafka_ca_file: MaybeFile = Field(
        default=None,
        description="certificates of authorities, PEM, that vouch for the brokers; none: the system's",
    )
    kafka_cert_file: MaybeFile = Field(
        default=None,
        description="the certificate, PEM, that this client shows, where the brokers ask for one",
    )
    kafka_key_file: MaybeFile = Field(default=None, description="its key, PEM, without a password")
    kafka_sasl_mechanism: Mechanism = Field(
        default="SCRAM-SHA-512", description="`SCRAM-SHA-512`, `SCRAM-SHA-256`, `PLAIN` or `OAUTHBEARER`"
    )
    kafka_user: str = Field(default="", description="who this client is, for SCRAM and PLAIN")
    kafka_password: SecretStr = Field(
        default=SecretStr(""),
        description="the password, for OAUTHBEARER the token, or where it is, `env:NAME` or `file:/path`",
    )

    @model_validator(mode="after")
    def _know_how_to_get_in(self) -> Self:
        """Raises ValueError, which quotes no password."""
        try:
            security = KafkaSecurity(
                protocol=self.kafka_security,
                mechanism=self.kafka_sasl_mechanism,
                user=self.kafka_user,
                password=Referred(self.kafka_password) if self.kafka_password.get_secret_value() else "",
                ca_file=self.kafka_ca_file,
                cert_file=self.kafka_cert_file,
                key_file=self.kafka_key_file,
            )
        except Unusable as unusable:
            raise ValueError(f"SAGAHOOK_KAFKA_PASSWORD: {unusable}") from None
        except ValueError as wrong:
            raise ValueError(f"SAGAHOOK_KAFKA_SECURITY: {wrong}") from None
        self.kafka = Brokers(self.kafka, security)
        return self

    @property
    def brokers(self) -> Brokers:
        """`kafka`, as what it is."""
        return cast("Brokers", self.kafka)
