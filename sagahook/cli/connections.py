"""How commands reach Kafka and PostgreSQL: as the services do, by the same environment."""

from __future__ import annotations

import typer
from pydantic import ValidationError

from sagahook.runtime.kafka_settings import KafkaSettings
from sagahook.runtime.postgres_settings import PostgresSettings
from sagahook.runtime.settings_errors import explain


def brokers(kafka: str) -> str:
    """kafka: host:port, comma-separated. A Brokers. Exits where the environment's settings do not go together."""
    try:
        return KafkaSettings(kafka=kafka).kafka
    except ValidationError as wrong:
        raise _refused(wrong) from None


def database() -> PostgresSettings:
    """Exits where the environment does not say where it is."""
    try:
        return PostgresSettings()  # type: ignore[call-arg]  # the environment says it
    except ValidationError as wrong:
        raise _refused(wrong) from None


def _refused(wrong: ValidationError) -> typer.Exit:
    typer.echo(f"sagahook: {explain(wrong)}", err=True)
    return typer.Exit(1)
