"""The pages keep up with the code: alerts have runbooks, commands exist with their options, links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sagahook.cli.main import app
from tests.docs.blocks import pages

ROOT = Path(__file__).parents[2]
OPERATING = sorted((ROOT / "docs" / "operating").glob("*.md"))
PAGES = [
    *OPERATING,
    *(ROOT / "docs" / "reference" / name for name in ("doctor.md", "operating.md", "topics.md")),
]
EVERY_PAGE = [page for page in pages() if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]
"""Of today: changes and decisions tell of their own time."""
RUNBOOKS = ROOT / "docs" / "operating" / "runbooks.md"
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yaml"


def alerts() -> dict[str, str]:
    """The address of each alert's runbook, by its name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules}


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.M)

    assert sorted(sections) == sorted(alerts())
    assert {name: url.partition("#")[2] for name, url in alerts().items()} == {
        name: name.lower() for name in alerts()
    }
    assert {url.partition("#")[0] for url in alerts().values()} == {"docs/operating/runbooks.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    wrong = [f"{line}: {why}" for line in commands(page.read_text()) if (why := unknown(line))]

    assert wrong == []


def commands(text: str) -> Iterator[str]:
    """`sagahook …` as code: in the text, and in blocks."""
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
    prose, blocks = fenced.sub("", text), fenced.findall(text)
    quoted = [code.replace("\\|", "|") for code in re.findall(r"`([^`\n]+)`", prose)]
    for line in [*quoted, *(line for block in blocks for line in block.splitlines())]:
        if line.startswith("sagahook "):
            yield re.split(r"  #| [|>] ", line)[0].strip()


@cache
def sagahook() -> Any:
    return typer.main.get_command(app)


def unknown(line: str) -> str | None:
    """What of the command does not exist."""
    found: Any = sagahook()
    words = shlex.split(line.removesuffix("\\").replace("…", "x"))[1:]
    while words and hasattr(found, "commands") and not words[0].startswith(("-", "[")):
        name = words.pop(0)
        if name not in found.commands:
            return f"there is no {name!r}"
        found = found.commands[name]
    if found.context_settings.get("allow_interspersed_args") is False:
        return None  # it hands them on
    options = {option for parameter in found.params for option in parameter.opts}
    missing = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"it has no {missing}" if missing else None
