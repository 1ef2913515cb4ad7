"""`sagahook-ingest`: takes webhooks and answers 202 once Kafka holds them durably."""

from __future__ import annotations

import sys

from pydantic import ValidationError
from pydantic_settings import SettingsError

from sagahook.runtime import telemetry
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook.runtime.settings_errors import explain
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest


def main() -> None:
    try:
        settings = IngestSettings()
        configure_logging("ingest", settings.log_level, settings.instance)
        telemetry.start("ingest", settings.instance)
        ingest = Ingest(settings)
    except ValidationError as invalid:
        sys.exit(f"sagahook-ingest: {explain(invalid)}")
    except SettingsError as malformed:
        sys.exit(f"sagahook-ingest: {malformed}: it must be JSON")
    except ValueError as unusable:  # a secret that has not its scheme's form
        sys.exit(f"sagahook-ingest: {unusable}")
    run_service(settings, ingest.app, ingest.run, ingest.health, delay=settings.stop_delay)


if __name__ == "__main__":
    main()
