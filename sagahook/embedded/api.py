"""`python -m sagahook.embedded.api`: the HTTP of ingest, tracker and notifier in one process."""

from __future__ import annotations

import asyncio

import sagahook_notifier.wiring
import sagahook_tracker.wiring
from sagahook.embedded.one_origin import OneOrigin
from sagahook.runtime import telemetry
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest
from sagahook_notifier.settings import NotifierSettings
from sagahook_tracker.settings import TrackerSettings


def main() -> None:
    settings = IngestSettings()
    configure_logging("api", settings.log_level, settings.instance)
    telemetry.start("api", settings.instance, postgres=True)
    ingest = Ingest(settings)
    tracker = sagahook_tracker.wiring.build_app(TrackerSettings())
    origin = OneOrigin(
        ingest=ingest.app,
        tracker=tracker,
        notifier=sagahook_notifier.wiring.build_app(NotifierSettings()),
    )

    async def until_stopped(stopping: asyncio.Event) -> None:
        await ingest.run(stopping)
        tracker.state.dismiss()

    run_service(settings, origin, until_stopped, origin.health, delay=settings.stop_delay)


if __name__ == "__main__":
    main()
