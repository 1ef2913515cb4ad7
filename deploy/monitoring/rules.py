"""What must hold of the alerts whoever reads them, and of the expressions of alerts and dashboards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ALERTS = HERE / "alerts.yaml"
ALERTS_TEST = HERE / "alerts_test.yaml"
RUNBOOKS = "docs/operating/runbooks.md"

NOT_OURS = frozenset({"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"})
"""Prometheus' own, and its client's."""

_TEXTS = re.compile(r"\"[^\"]*\"|'[^']*'")
_SELECTORS = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAMES = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    expr: str
    severity: str
    annotations: Mapping[str, str]


def alerts(path: Path = ALERTS) -> list[Alert]:
    """Of a file of Prometheus rules."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [
        Alert(
            rule["alert"],
            rule["expr"],
            rule.get("labels", {}).get("severity", ""),
            rule.get("annotations", {}),
        )
        for group in groups
        for rule in group["rules"]
    ]


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics that a PromQL expression asks for."""
    bare = _LABELS.sub(" ", _SELECTORS.sub(" ", _TEXTS.sub(" ", expr)))
    return {name for name in _NAMES.findall(bare) if name.lower() not in _WORDS}


def problems(found: Collection[Alert], known: Collection[str]) -> Iterator[str]:
    """known: the names of the series that there are."""
    names = Counter(alert.name for alert in found)
    yield from (f"{name} is there {count} times" for name, count in names.items() if count > 1)
    for alert in found:
        if alert.severity not in ("critical", "warning"):
            yield f"{alert.name}: its severity is {alert.severity!r}, not critical or warning"
        for needed in ("summary", "description"):
            if not alert.annotations.get(needed, "").strip():
                yield f"{alert.name} has no {needed}"
        if alert.annotations.get("runbook_url") != f"{RUNBOOKS}#{alert.name.lower()}":
            yield f"{alert.name}: its runbook_url is not {RUNBOOKS}#{alert.name.lower()}"
        for metric in sorted(metrics_of(alert.expr) - set(known) - NOT_OURS):
            yield f"{alert.name} asks for {metric}, which no service has"


def unproven(found: Collection[Alert], path: Path = ALERTS_TEST) -> Iterator[str]:
    """The alerts of which the tests for promtool do not show that they fire, or that they clear."""
    tests: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    asked = [question for test in tests for question in test["promql_expr_test"]]
    shown = {sample["labels"] for question in asked for sample in question["exp_samples"]}
    fired = {name for labels in shown for name in re.findall(r'alertname="(\w+)"', labels)}
    for alert in found:
        if alert.name not in fired:
            yield f"no test shows that {alert.name} fires"
        if not any(_clears(question, alert.name) for question in asked):
            yield f"no test shows that {alert.name} is quiet again"


def _clears(question: Mapping[str, Any], name: str) -> bool:
    """Whether it asks for the alert, and expects none."""
    if any(f'alertname="{name}"' in sample["labels"] for sample in question["exp_samples"]):
        return False
    for sign, asked in re.findall(r'alertname(=~|!=|=)"([^"]+)"', question["expr"]):
        if {"=": asked == name, "!=": asked != name, "=~": re.fullmatch(asked, name) is not None}[sign]:
            return True
    return False
