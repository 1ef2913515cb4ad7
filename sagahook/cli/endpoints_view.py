"""Endpoints and deliveries on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sagahook.cli.sagas_view import plain

_COLOURS = {"succeeded": "green", "exhausted": "red", "cancelled": "magenta"}


def listed(endpoints: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("ENDPOINT", "URL", "HEARS OF", "STATE")
    for each in endpoints:
        table.add_row(
            *(Text(plain(cell)) for cell in (each["id"], each["url"], _hears_of(each))), _state(each)
        )
    return table


def shown(endpoint: Mapping[str, Any], statistics: Mapping[str, Any]) -> RenderableType:
    facts = Table(box=None, show_header=False)
    for name, value in _facts(endpoint, statistics):
        facts.add_row(name, Text(plain(value)))
    return facts


def deliveries(found: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("DELIVERY", "ENDPOINT", "EVENT", "TASK", "STATUS", "ATTEMPTS", "MADE")
    for each in found:
        status = Text(each["status"], style=_COLOURS.get(each["status"], ""))
        cells = [Text(plain(each[name])) for name in ("id", "endpoint_id", "event_type", "task_id")]
        table.add_row(*cells, status, str(each["attempt_count"]), plain(each["created_at"]))
    return table


def delivery(found: Mapping[str, Any]) -> RenderableType:
    """Its payload, and each attempt with what was said and heard."""
    parts: list[RenderableType] = [
        deliveries([found]),
        Text(plain_lines(json.dumps(found["payload"], indent=2))),
    ]
    for attempt in found["attempts"]:
        phases = ", ".join(f"{name} {value:g} ms" for name, value in attempt["phases"].items())
        parts.append(
            Text(
                f"\nattempt {attempt['attempt']} at {attempt['started_at']}, {attempt['duration_ms']:g} ms"
                f"{f' ({phases})' if phases else ''}: {plain(attempt['error'] or attempt['status_code'])}"
            )
        )
        for sign, headers in ((">", attempt["request_headers"]), ("<", attempt["response_headers"])):
            parts += [Text(plain(f"  {sign} {name}: {value}")) for name, value in headers.items()]
        if attempt["response_excerpt"]:
            parts.append(Text(plain_lines(f"  {attempt['response_excerpt']}")))
    return Group(*parts)


def plain_lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.splitlines())


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(headings[0], no_wrap=True, overflow="ignore")
    for heading in headings[1:]:
        table.add_column(heading)
    return table


def _state(endpoint: Mapping[str, Any]) -> Text:
    if endpoint["enabled"]:
        return Text("on", style="green")
    return Text(plain(endpoint["disabled_reason"] or "off"), style="red")


def _hears_of(endpoint: Mapping[str, Any]) -> str:
    of = [", ".join(endpoint["event_types"])]
    for name in ("sources", "sagas"):
        if endpoint[name] is not None:
            of.append(f"{name}: {', '.join(endpoint[name])}")
    if endpoint["filter"]:
        of.append(endpoint["filter"])
    return "; ".join(of)


def _facts(endpoint: Mapping[str, Any], statistics: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name in (
        "id",
        "url",
        "description",
        "origin",
        "payload_format",
        "retry_policy",
        "rate_limit",
        "ordered",
    ):
        yield name, endpoint[name]
    yield "hears of", _hears_of(endpoint)
    yield "headers", ", ".join(endpoint["headers"]) or "none of its own"
    yield "state", _state(endpoint).plain
    if endpoint["secrets"] is None:
        yield "secret", "no key that is configured opens it: nothing can be signed"
    for secret in endpoint["secrets"] or ():
        until = f", until {secret['expires_at']}" if secret["expires_at"] else ""
        key = f", public key {secret['public_key']}" if secret["public_key"] else ""
        yield "secret", f"{secret['signature']}, made {secret['created_at']}{until}{key}"
    counts = ", ".join(f"{count} {status}" for status, count in statistics["deliveries"].items() if count)
    yield "last 24 h", counts or "nothing was sent"
    if statistics["success_rate"] is not None:
        yield "success", f"{statistics['success_rate']:.1%}"
    if statistics["latency_ms"]["p50"] is not None:
        yield "latency", ", ".join(f"{name} {value:g} ms" for name, value in statistics["latency_ms"].items())
    yield "waiting", statistics["backlog"]
    if statistics["failing_since"]:
        yield "failing since", statistics["failing_since"]
    if statistics["paused_until"]:
        yield "left alone until", statistics["paused_until"]
