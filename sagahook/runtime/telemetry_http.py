"""The spans of our APIs' requests, which FastAPI makes by itself where the process traces."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_PROBES = frozenset({"/health", "/livez", "/readyz", "/startupz", "/metrics"})


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in _PROBES


HTTP_SPANS: TelemetryConfig = {
    "metrics": False,  # Prometheus has them
    "logs": False,  # so that nobody's request gets into a trace by way of an error's text
    "operation_spans": False,
    "auto_configure": False,  # `telemetry.start` does it
    "exclude": _is_probe,
}
"""For `FastAPI(telemetry=…)`."""
