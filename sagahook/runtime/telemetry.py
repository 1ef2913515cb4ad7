"""Traces: what became of a webhook, from its POST to the webhooks out, as one tree (docs/operating/tracing.md).

Off unless the environment says where traces go, and then free: nothing of OpenTelemetry is imported, and whoever could
make a span looks at `spans`, finds None, and goes on. What knows the SDK is `telemetry_sdk`.

Who begins a trace decides whether it is recorded; everybody behind looks at the `traceparent` (W3C Trace Context §3.2)
that came with the record, and makes spans only where its flag says so: an unrecorded trace costs a look at a character.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from sagahook.runtime.logging import get_logger, know_trace

log = get_logger(__name__)

VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "JAEGER_ENDPOINT",
    "ENABLE_TRACING",
)
"""What is read here or by the SDK; those of the SDK that tune its queue (`OTEL_BSP_*`) and the like work as well."""

Kind = Literal["server", "producer", "consumer", "client", "internal"]
"""As OpenTelemetry's SpanKind."""

Attributes = Mapping[str, str | int | float | bool]
"""Ids, names and numbers. Never a payload, a text of somebody's, a secret or a URL that may hold one."""

SAMPLED: Final = frozenset("13579bdf")
"""How the traceparent of a trace that is recorded ends."""
_NO: Final = frozenset({"false", "0", "no", "off"})
_SPOKEN: Final = "http/protobuf"
_OTLP_PATH: Final = "/v1/traces"


class Span(Protocol):
    """One that is recorded, and under way until its end. traceparent: what belongs under it carries it on."""

    @property
    def traceparent(self) -> str: ...

    def add(self, attributes: Attributes) -> None: ...

    def link(self, traceparent: str) -> None:
        """To a span of another trace, or to one of this trace that is no parent."""
        ...

    def fail(self, kind: str) -> None:
        """kind: which failure, in one word of low cardinality (the attribute `error.type`)."""
        ...

    def end(self) -> None: ...

    def current(self) -> AbstractContextManager[object]:
        """Spans that others make within, and log lines, belong to it."""
        ...


class Spans(Protocol):
    """Makes spans."""

    def begin(self, name: str, kind: Kind, parent: str, attributes: Attributes) -> Span | None:
        """Under a parent that is recorded; None where it is none after all."""
        ...

    def head(
        self,
        name: str,
        kind: Kind,
        parent: str,
        attributes: Callable[[], Attributes],
        came_at: float | None = None,
    ) -> tuple[str, Span | None]:
        """Of what comes from outside, under whatever parent came along, or none: here it is decided whether the trace
        is recorded. The traceparent for what follows, and the span where it is. attributes: called only where it is, or
        a sampler of somebody's own asks for them. came_at: when it began, by `time.perf_counter`."""
        ...

    def batch(self, name: str, attributes: Attributes, of: str, started_ns: int) -> Span:
        """A trace of its own for what is done for several at once. of: the traceparent of the first of them."""
        ...

    def within(self, traceparent: str) -> AbstractContextManager[object]:
        """What is called within goes on with this trace, although nothing of it is recorded here."""
        ...

    def current(self) -> str:
        """The traceparent of whatever span is current, ours or another's; "" where there is none."""
        ...

    def stop(self, seconds: float) -> None:
        """Hand over what is recorded, and wait for that so long at most."""
        ...


spans: Spans | None = None
"""Those of this process; None: nothing is traced."""


def is_recorded(traceparent: str) -> bool:
    """Whether spans under it are to be made here."""
    return spans is not None and traceparent[-1:] in SAMPLED


def current_traceparent() -> str:
    """For what is written on behalf of the current request."""
    return "" if spans is None else spans.current()


class Destination(NamedTuple):
    """endpoint: where traces go; None: as the SDK reads it from the environment. wrong: why nothing goes anywhere
    although somebody asked for it, and what to do."""

    endpoint: str | None = None
    wrong: str = ""


def destination(environ: Mapping[str, str]) -> Destination | None:
    """None where nobody asked for traces. See docs/operating/tracing.md for the variables."""
    said = {name: value for name in VARIABLES if (value := environ.get(name, "").strip())}
    if _is_off(said):
        return None
    given = said.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or said.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    endpoint = given or said.get("JAEGER_ENDPOINT")
    if endpoint is None:
        asked = "ENABLE_TRACING is set, but no endpoint: set OTEL_EXPORTER_OTLP_ENDPOINT"
        return Destination(wrong=asked) if "ENABLE_TRACING" in said else None
    if wrong := _wrong(said, endpoint):
        return Destination(wrong=wrong)
    return Destination(None if given else _traces_of(endpoint))


def _is_off(said: Mapping[str, str]) -> bool:
    return (
        said.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or said.get("ENABLE_TRACING", "").lower() in _NO
        or said.get("OTEL_TRACES_EXPORTER") == "none"
    )


def _wrong(said: Mapping[str, str], endpoint: str) -> str:
    """What of it cannot be done, and what to do; "" where nothing is wrong."""
    exporter = said.get("OTEL_TRACES_EXPORTER", "otlp")
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER is {exporter!r}, and only otlp and none are there"
    protocol = said.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or said.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", _SPOKEN
    )
    if protocol != _SPOKEN:
        return (
            f"the OTLP protocol {protocol!r} is not spoken here: set OTEL_EXPORTER_OTLP_PROTOCOL={_SPOKEN}, and the "
            "collector's port for it, mostly 4318"
        )
    is_url = urlsplit(endpoint).scheme in ("http", "https")
    return "" if is_url else "the OTLP endpoint must begin with http:// or https://"


def _traces_of(base: str) -> str:
    return base if base.endswith(_OTLP_PATH) else base.rstrip("/") + _OTLP_PATH


def start(service: str, instance: str = "", *, postgres: bool = False, http: bool = False) -> None:
    """Trace this process where the environment says so; else, and where it cannot be done, say why and do nothing.

    postgres, http: whether queries by asyncpg and requests by aiohttp within our spans are spans too.
    """
    global spans  # noqa: PLW0603  # a process traces, or it does not
    to = destination(os.environ)
    if to is None:
        return
    if to.wrong:
        log.warning("telemetry.off", reason=to.wrong)
        return
    try:
        from sagahook.runtime.telemetry_sdk import SdkSpans
    except ImportError as missing:
        log.warning(
            "telemetry.off", reason=f"{missing.name} is not installed: pip install 'sagahook[telemetry]'"
        )
        return
    spans = SdkSpans.start(service, instance, to.endpoint, postgres=postgres, http=http)
    know_trace(spans.current)
    log.info("telemetry.on", sampler=os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on"))


def stop(seconds: float = 2.0) -> None:
    """Before the process ends. A collector that is away holds it up no longer than this."""
    if spans is not None:
        spans.stop(seconds)
