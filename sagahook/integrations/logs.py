"""Our log lines in a process that has a log of its own."""

from __future__ import annotations

import structlog

from sagahook.runtime.logging import add_ids, calm_libraries


def log_as_the_application_does() -> None:
    """By the standard library's logging, whose handlers and levels are the application's; where it has configured
    structlog, by that."""
    calm_libraries()
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            add_ids,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
