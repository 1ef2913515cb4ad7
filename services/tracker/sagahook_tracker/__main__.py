"""`python -m sagahook_tracker project | api | migrate`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from pydantic import ValidationError

from sagahook.runtime import telemetry
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.settings_errors import explain
from sagahook_tracker.settings import TrackerSettings


def main() -> None:
    parser = argparse.ArgumentParser(prog="sagahook-tracker", description="What became of each webhook?")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("project", help="make the views from the log, until stopped")
    commands.add_parser("api", help="serve the status API alone")
    commands.add_parser("migrate", help="bring the schema up to date, and exit")
    command = parser.parse_args().command
    try:
        settings = TrackerSettings()
    except ValidationError as invalid:
        sys.exit(f"sagahook-tracker: {explain(invalid)}")
    configure_logging("tracker", settings.log_level, settings.instance)
    if command != "migrate":
        telemetry.start("tracker", settings.instance, postgres=True)
    {"project": _project, "api": _api, "migrate": _migrate}[command](settings)


def _project(settings: TrackerSettings) -> None:
    from sagahook.runtime.service import run_service
    from sagahook_tracker.projector import Projector

    projector = Projector(settings)
    run_service(settings, projector.app, projector.run, projector.health)


def _api(settings: TrackerSettings) -> None:
    from sagahook.runtime.service import run_service
    from sagahook_tracker.wiring import build_app

    app = build_app(settings)

    async def until_stopped(stopping: asyncio.Event) -> None:
        await stopping.wait()
        app.state.dismiss()

    run_service(settings, app, until_stopped, app.state.health, delay=settings.stop_delay)


def _migrate(settings: TrackerSettings) -> None:
    # The tools of migration take a while to load, and no other command needs them.
    from sagahook.runtime.migrations import migrate
    from sagahook_tracker.adapters.queries import SCHEMA
    from sagahook_tracker.adapters.schema import MIGRATIONS

    asyncio.run(migrate(settings.dsn(), SCHEMA, MIGRATIONS))


if __name__ == "__main__":
    main()
