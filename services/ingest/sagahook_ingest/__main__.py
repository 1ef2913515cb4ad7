"""`sagahook-ingest`: takes webhooks and answers 202 once Kafka holds them durably."""

from __future__ import annotations

from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest


def main() -> None:
    settings = IngestSettings()
    configure_logging("ingest", settings.log_level, settings.instance)
    ingest = Ingest(settings)
    run_service(settings, ingest.app, ingest.run)


if __name__ == "__main__":
    main()
