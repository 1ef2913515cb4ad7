"""`sagahook-runner`: routes webhooks to sagas and carries the sagas through."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from sagahook.runtime import telemetry
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.service import run_service
from sagahook.runtime.settings_errors import explain
from sagahook.saga import AppError, DefinitionError, load_app
from sagahook_runner.settings import RunnerSettings
from sagahook_runner.wiring import Runner


def main() -> None:
    try:
        settings = RunnerSettings()
    except ValidationError as invalid:
        sys.exit(f"sagahook-runner: {explain(invalid)}")
    configure_logging("saga-runner", settings.log_level, settings.instance)
    telemetry.start("runner", settings.instance, http=True)
    try:
        app = load_app(settings.app)
    except (AppError, DefinitionError) as wrong:
        sys.exit(f"sagahook-runner: {wrong}")
    runner = Runner(settings, app)
    run_service(settings, runner.app, runner.run, runner.health)


if __name__ == "__main__":
    main()
