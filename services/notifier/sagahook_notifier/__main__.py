"""`sagahook-notifier`: tells other systems what became of sagas, by signed webhooks."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser

from pydantic import ValidationError
from pydantic_settings import SettingsError

from sagahook.runtime import telemetry
from sagahook.runtime.batches import OffsetOutOfRange, Unavailable
from sagahook.runtime.database import NotMigrated, reaching_database
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook.runtime.settings_errors import explain
from sagahook.runtime.topics import TopicsMismatch
from sagahook_notifier.adapters.schema import MIGRATIONS, SCHEMA
from sagahook_notifier.settings import NotifierSettings
from sagahook_notifier.wiring import Notifier, build_app

COMMANDS = {
    "run": "match events with endpoints, deliver, and publish the outcomes, until stopped",
    "api": "serve the HTTP API alone",
    "migrate": "bring the database's schema up to date, and exit",
}


def main() -> None:
    parser = ArgumentParser(prog="sagahook-notifier", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what)
    command = parser.parse_args().command
    try:
        settings = NotifierSettings()
    except ValidationError as invalid:
        sys.exit(f"sagahook-notifier: {explain(invalid)}")
    except SettingsError as malformed:
        sys.exit(f"sagahook-notifier: {malformed}: it must be JSON")
    configure_logging("notifier", settings.log_level, settings.instance)
    if command != "migrate":
        telemetry.start("notifier", settings.instance, postgres=True)
    {"run": _run, "api": _api, "migrate": _migrate}[command](settings)


def _run(settings: NotifierSettings) -> None:
    notifier = Notifier(settings)
    try:
        run_service(settings, notifier.app, notifier.run, notifier.health)
    except* (NotMigrated, TopicsMismatch, OffsetOutOfRange) as wrong:
        sys.exit(f"sagahook-notifier: {'; '.join(_reasons(wrong))}")


def _api(settings: NotifierSettings) -> None:
    async def until_stopped(stopping: asyncio.Event) -> None:
        await stopping.wait()

    app = build_app(settings)
    run_service(settings, app, until_stopped, app.state.health, delay=settings.stop_delay)


def _migrate(settings: NotifierSettings) -> None:
    # The tools of migration take a while to load, and no other command needs them.
    from sagahook.runtime.migrations import migrate

    try:
        with reaching_database():
            asyncio.run(migrate(settings.dsn(), SCHEMA, MIGRATIONS))
    except Unavailable as away:
        sys.exit(f"sagahook-notifier: {away}. Nothing was changed: try again when it answers")


def _reasons(wrong: BaseExceptionGroup[BaseException]) -> list[str]:
    """Of each failure, however deep the groups are nested."""
    reasons = []
    for each in wrong.exceptions:
        reasons += _reasons(each) if isinstance(each, BaseExceptionGroup) else [str(each)]
    return reasons


if __name__ == "__main__":
    main()
