"""What runs in each pod, as the code has it: its settings, what it serves, how long it takes to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from fastapi import FastAPI
from pydantic import AliasChoices
from pydantic_settings import BaseSettings
from starlette.applications import Starlette
from starlette.routing import Route

import sagahook_notifier.wiring
import sagahook_tracker.wiring
from sagahook.runtime.health import Health, health_app
from sagahook.runtime.postgres_settings import PostgresSettings
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.source_configuration import GITHUB_SECRET
from sagahook.runtime.telemetry import VARIABLES
from sagahook.saga.http_settings import HttpSettings
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest
from sagahook_notifier.settings import NotifierSettings
from sagahook_runner.settings import RunnerSettings
from sagahook_tracker.settings import TrackerSettings

HTTP_STOP = 5.0
"""Seconds that open connections get (sagahook.runtime.service)."""

HAND_OVER = 15.0
"""Seconds for what comes after: partitions let go and the group left, clients and pools closed, each within a bound."""

MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Workload:
    """image: which of the images, and its args. serves: the app, whose routes are asked for; None: a Job.
    stopping: seconds between SIGTERM and the end, at most, by its settings."""

    name: str
    image: str
    args: tuple[str, ...]
    settings: tuple[type[BaseSettings], ...]
    serves: Callable[[], Starlette] | None
    stopping: Callable[[BaseSettings], float]

    @property
    def uses_postgres(self) -> bool:
        return any(issubclass(each, PostgresSettings) for each in self.settings)

    @property
    def routes(self) -> Mapping[str, Iterable[str]]:
        """The paths that it serves, with their methods in small letters."""
        return _routes(self.serves) if self.serves is not None else {}

    @property
    def known_variables(self) -> frozenset[str]:
        """What it reads of its environment."""
        further_github = {f"{GITHUB_SECRET}_{number}" for number in range(2, 10)}
        names = {name for each in self.settings for name in variables(each)} | set(VARIABLES)
        return frozenset(names | further_github if GITHUB_SECRET in names else names)


@cache
def _routes(serves: Callable[[], Starlette]) -> Mapping[str, Iterable[str]]:
    app = serves()
    if isinstance(app, FastAPI):
        paths: Mapping[str, Iterable[str]] = app.openapi()["paths"]
        return paths
    return {
        route.path: [method.lower() for method in route.methods or ()]
        for route in app.routes
        if isinstance(route, Route)
    }


def variables(settings: type[BaseSettings]) -> Iterator[str]:
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (str(choice) for choice in alias.choices)
        else:
            yield alias if isinstance(alias, str) else f"{prefix}{name.upper()}"


def _stop_of_ingest(settings: BaseSettings) -> float:
    assert isinstance(settings, IngestSettings)
    return settings.stop_delay + settings.publish_timeout + HTTP_STOP


def _stop_of_an_api(settings: BaseSettings) -> float:
    assert isinstance(settings, ServiceSettings)
    return settings.stop_delay + HTTP_STOP


def _stop_of_runner(settings: BaseSettings) -> float:
    assert isinstance(settings, RunnerSettings)
    return settings.drain + HAND_OVER


def _stop_of_notifier(settings: BaseSettings) -> float:
    assert isinstance(settings, NotifierSettings)
    return settings.notify_drain + HAND_OVER


def _stop_of_projector(_: BaseSettings) -> float:
    return HAND_OVER


def _probes_alone() -> Starlette:
    """What runner, projector and notifier serve."""
    return health_app(Health())


@cache
def ingest_app() -> FastAPI:
    return Ingest(IngestSettings(kafka="any:9092")).app


@cache
def tracker_app() -> FastAPI:
    return sagahook_tracker.wiring.build_app(
        TrackerSettings(kafka="any:9092", database_url="postgresql://any")
    )


@cache
def notifier_app() -> FastAPI:
    return sagahook_notifier.wiring.build_app(
        NotifierSettings(kafka="any:9092", database_url="postgresql://any", secret_key="x" * 32)
    )


WORKLOADS: Mapping[str, Workload] = {
    each.name: each
    for each in (
        Workload("sagahook-ingest", "ingest", (), (IngestSettings,), ingest_app, _stop_of_ingest),
        Workload(
            "sagahook-runner",
            "saga-runner",
            (),
            (RunnerSettings, HttpSettings),
            _probes_alone,
            _stop_of_runner,
        ),
        Workload(
            "sagahook-tracker-api", "tracker", ("api",), (TrackerSettings,), tracker_app, _stop_of_an_api
        ),
        Workload(
            "sagahook-tracker", "tracker", ("project",), (TrackerSettings,), _probes_alone, _stop_of_projector
        ),
        Workload(
            "sagahook-notifier-api", "notifier", ("api",), (NotifierSettings,), notifier_app, _stop_of_an_api
        ),
        Workload(
            "sagahook-notifier", "notifier", ("run",), (NotifierSettings,), _probes_alone, _stop_of_notifier
        ),
        Workload("sagahook-migrate", "cli", ("migrate",), (PostgresSettings,), None, lambda _: 0.0),
        Workload("sagahook-topics", "cli", ("topics", "apply"), (ServiceSettings,), None, lambda _: 0.0),
    )
}
"""By the name of the Deployment or Job."""
