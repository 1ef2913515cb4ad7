"""`sagahook-notifier`: tells other systems what became of sagas, by signed webhooks."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser

from pydantic import ValidationError
from pydantic_settings import SettingsError

from sagahook.runtime.batches import OffsetOutOfRange
from sagahook.runtime.database import NotMigrated
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook_notifier.adapters.store import MIGRATIONS, SCHEMA
from sagahook_notifier.settings import NotifierSettings
from sagahook_notifier.wiring import Notifier


def main() -> None:
    parser = ArgumentParser(prog="sagahook-notifier", description=__doc__)
    parser.add_argument(
        "command",
        choices=("run", "migrate"),
        help="run: match events with endpoints and deliver; migrate: bring the database's schema up to date",
    )
    command = parser.parse_args().command
    try:
        settings = NotifierSettings()
    except ValidationError as invalid:
        sys.exit(f"sagahook-notifier: {explain(invalid)}")
    except SettingsError as malformed:
        sys.exit(f"sagahook-notifier: {malformed}: it must be JSON")
    configure_logging("notifier", settings.log_level, settings.instance)
    if command == "migrate":
        # The tools of migration take longer to load than the rest together, and `run` has no use for them.
        from sagahook.runtime.migrations import migrate

        asyncio.run(migrate(settings.database_url.get_secret_value(), SCHEMA, MIGRATIONS))
        return
    notifier = Notifier(settings)
    try:
        run_service(settings, notifier.app, notifier.run)
    except* (NotMigrated, OffsetOutOfRange) as wrong:
        sys.exit(f"sagahook-notifier: {'; '.join(str(each) for each in wrong.exceptions)}")


def explain(invalid: ValidationError) -> str:
    """Which variable is wrong, where in it, and why; never its value, which may be a secret."""
    lines = []
    for error in invalid.errors(include_url=False, include_context=False, include_input=False):
        name, *inside = (str(part) for part in error["loc"] or ("",))
        variable = name if name.isupper() else f"SAGAHOOK_{name.upper()}".removesuffix("_")
        lines.append(f"{'.'.join([variable, *inside])}: {error['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


if __name__ == "__main__":
    main()
