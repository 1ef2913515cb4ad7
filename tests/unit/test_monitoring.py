"""What is measured, shown and alerted on holds together: declarations, dashboards, alerts, their tests and documents.

`make check` asks the same of the files as they are, and Prometheus' own tool besides; here are the mistakes that it
finds.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from deploy.monitoring.__main__ import findings
from deploy.monitoring.boards import DASHBOARDS
from deploy.monitoring.panels import COLUMNS, Dashboard, to_json
from deploy.monitoring.rules import ALERTS, Alert, alerts, metrics_of, problems, unproven
from sagahook.cli.main import app
from sagahook.cli.metrics_reference import EMPTY, Family, declared

ROOT = Path(__file__).parents[2]

OF_THE_CONTRACT = {
    "webhook_events_total",
    "webhook_errors_total",
    "webhook_processing_duration_seconds",
    "workflow_tasks_total",
    "workflow_task_duration_seconds",
    "workflow_task_retries_total",
    "queue_size",
    "celery_queue_size",
    "database_connections_active",
    "github_api_requests_total",
    "github_api_rate_limit_remaining",
    "codegen_agent_tasks_total",
}
"""The names that callers rely on: none may go, and none may come without the prefix that is ours."""

BOUNDED = {
    "source": "configured, or wanted by a definition; else `unknown`",
    "scheme": "of the sources",
    "task_type": "deployed",
    "group": "of the services",
    "topic": "of the registry, and of participants that definitions name",
    "partition": "fixed when topics are made",
    "host": "50 at most",
    "resource": "of a list; else `other`",
    **dict.fromkeys(
        ("status", "state", "outcome", "result", "kind", "type", "reason", "action"), "words of the code"
    ),
    **dict.fromkeys(("service", "check"), "words of the code"),
}
"""Every label, and what keeps its values few. A new one needs its reason here."""


def families() -> list[Family]:
    return [family for section in declared().values() for family in section]


def test_every_metric_has_one_declaration_and_either_a_name_of_the_contract_or_our_prefix() -> None:
    names = Counter(family.name for family in families())
    assert [name for name, count in names.items() if count > 1] == []
    assert {name for name in names if not name.startswith("sagahook_")} == OF_THE_CONTRACT


def test_every_label_has_a_reason_why_its_values_are_few_and_every_metric_says_what_it_is() -> None:
    assert {label for family in families() for label in family.labels} == set(BOUNDED)
    assert [family.name for family in families() if not family.help] == []


def test_what_may_be_empty_is_declared_and_has_labels() -> None:
    by_name = {family.name: family for family in families()}
    assert [name for name in EMPTY if not by_name[name].labels] == []


def test_alerts_and_dashboards_are_in_order() -> None:
    assert list(findings()) == []


def test_the_commands_that_alerts_tell_people_exist() -> None:
    commands: Any = get_command(app)
    told = {
        command
        for alert in alerts()
        for text in alert.annotations.values()
        for command in re.findall(r"`sagahook ([a-z]+(?: [a-z]+)?)", text)
    }
    assert told
    for command in told:
        found = commands
        for word in command.split():
            found = found.commands[word] if hasattr(found, "commands") else found


def test_every_alert_has_its_section_in_the_runbooks() -> None:
    runbooks = (ROOT / "docs/operating/runbooks.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (Sagahook\w+)$", runbooks, re.M))
    assert sections == {alert.name for alert in alerts()}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_a_dashboard_is_one_that_grafana_reads(dashboard: Dashboard) -> None:
    shown = to_json(dashboard)
    panels = shown["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert max(x for x, _ in cells) < COLUMNS
        taken |= cells
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(letters)) == len(letters)
        assert panel["title"]
    choices = {variable["name"] for variable in shown["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", " ".join(query.expr for query in dashboard.queries)))
    assert used == choices - {"datasource"}


def test_metrics_are_found_in_an_expression_and_nothing_else_is_taken_for_one() -> None:
    expr = (
        'sum by (source) (rate(webhook_errors_total{status!~"40.|x"}[5m])) / on (source) group_left (job) '
        "(sum(up) or 0 * vector(1)) > 0.05 and max(sagahook_ready offset 15m) unless absent(process_open_fds) > 1e6"
    )
    assert metrics_of(expr) == {"webhook_errors_total", "up", "sagahook_ready", "process_open_fds"}


GOOD = Alert(
    "SagahookX",
    "max(up) > 1",
    "warning",
    {"summary": "s", "description": "d", "runbook_url": "docs/operating/runbooks.md#sagahookx"},
)


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        (replace(GOOD, expr="stuck_sagas > 0"), "SagahookX asks for stuck_sagas, which no service has"),
        (replace(GOOD, severity="urgent"), "SagahookX: its severity is 'urgent', not critical or warning"),
        (
            replace(GOOD, annotations={**GOOD.annotations, "runbook_url": "docs/operating/runbooks.md"}),
            "SagahookX: its runbook_url is not docs/operating/runbooks.md#sagahookx",
        ),
        (replace(GOOD, annotations={**GOOD.annotations, "description": " "}), "SagahookX has no description"),
    ],
)
def test_a_mistake_in_an_alert_is_told(alert: Alert, told: str) -> None:
    assert list(problems([GOOD], [])) == []
    assert list(problems([alert], [])) == [told]
    assert list(problems([GOOD, GOOD], [])) == ["SagahookX is there 2 times"]


def test_an_alert_that_no_test_fires_or_clears_is_told(tmp_path: Path) -> None:
    def question(expected: list[str]) -> dict[str, Any]:
        samples = [{"labels": f'ALERTS{{alertname="{name}"}}', "value": 1} for name in expected]
        return {"expr": 'ALERTS{alertname="SagahookX"}', "eval_time": "1m", "exp_samples": samples}

    path = tmp_path / "test.yaml"

    def told(*questions: dict[str, Any]) -> list[str]:
        path.write_text(yaml.safe_dump({"tests": [{"promql_expr_test": list(questions)}]}))
        return list(unproven([GOOD], path))

    assert told(question(["SagahookX"]), question([])) == []
    assert told(question(["SagahookX"])) == ["no test shows that SagahookX is quiet again"]
    assert told(question([])) == ["no test shows that SagahookX fires"]


def test_the_alerts_are_read_from_the_file_that_prometheus_reads() -> None:
    assert {alert.name for alert in alerts()} == set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
