"""Every command of the docs runs, or is listed with why it does not; what is said to be printed is printed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, by_page
from tests.docs.not_run import CODE, COMMANDS, ELSEWHERE
from tests.docs.stack import QUICKSTART, ReadersStack, followed
from tests.docs.written import commands, named

PAGES = by_page("sh", "console", "python", "json", "toml", "text")


def _has_commands(page: str) -> bool:
    return any(block.language in ("sh", "console") for block in PAGES[page])


def _starts_a_stack(page: str) -> bool:
    """One that is not the quickstart's: that goes on for all pages."""
    started = [block for block in PAGES[page] if block.notes.get("background") == "dev"]
    return page != "README.md" and bool(started)


def _takes_long(page: str) -> bool:
    return any("long" in block.notes for block in PAGES[page])


def _takes_only_long(page: str) -> bool:
    return all("long" in block.notes for block in PAGES[page] if block.language in ("sh", "console"))


ON_THE_SHARED_STACK = [page for page in PAGES if _has_commands(page) and not _starts_a_stack(page)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadersStack]:
    with followed(QUICKSTART, tmp_path_factory.mktemp("docs")) as stack:
        yield stack


def test_the_quickstart_ends_with_a_completed_saga_and_a_verified_webhook(stack: ReadersStack) -> None:
    assert "verified; answered 204" in stack.terminal.background["listen"].printed


def test_the_stack_is_described_as_its_page_shows(stack: ReadersStack) -> None:
    shown = _shown("docs/embedded.md")

    assert shown.keys() == stack.description.keys()
    assert shown["keys"].keys() == stack.description["keys"].keys()
    assert shown["pids"].keys() == stack.description["pids"].keys()


def test_an_outbound_webhook_is_as_its_page_shows(stack: ReadersStack) -> None:
    printed = stack.terminal.background["listen"].printed
    received, _ = json.JSONDecoder().raw_decode(printed[printed.index("\n{\n") + 1 :])
    shown = _shown("docs/reference/outbound.md")

    assert shown.keys() == received.keys()
    assert received["data"].keys() - shown["data"].keys() == set()
    assert shown["data"].keys() - received["data"].keys() <= {
        "user_id",
        "attributes",
    }  # where a saga has them


def _shown(page: str) -> Any:
    [block] = by_page("json")[page]
    return json.loads(block.text)


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in PAGES if _starts_a_stack(page) and page != "docs/quickstart.md"]
)
def test_the_commands_of_a_page_with_a_stack_of_its_own_do_what_it_says(page: str, tmp_path: Path) -> None:
    with followed(ROOT / page, tmp_path):
        pass


@pytest.mark.parametrize("page", [page for page in ON_THE_SHARED_STACK if not _takes_only_long(page)])
def test_the_commands_of_a_page_do_what_it_says(page: str, stack: ReadersStack, tmp_path: Path) -> None:
    with stack.read(page, tmp_path, whole=False) as terminal:
        for block in PAGES[page]:
            terminal.do(block)


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in ON_THE_SHARED_STACK if _takes_long(page)])
def test_all_commands_of_a_page_do_what_it_says(page: str, stack: ReadersStack, tmp_path: Path) -> None:
    with stack.read(page, tmp_path, whole=True) as terminal:
        for block in PAGES[page]:
            terminal.do(block)


def test_each_command_that_is_not_run_is_there_with_its_reason() -> None:
    there = {
        (page, named(command))
        for page, blocks in by_page("sh", "console").items()
        for block in blocks
        for command in commands(block)
    }
    listed = {(page, command): why for page, reasons in COMMANDS.items() for command, why in reasons.items()}
    for (page, command), why in listed.items():
        print(f"not run: {page}: {command}: {why}")  # noqa: T201  # the list is to be seen

    assert listed.keys() <= there


def test_what_another_test_runs_is_run_there() -> None:
    for test in ELSEWHERE.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_what_is_said_to_hold_a_command_instead_is_a_test_that_there_is() -> None:
    reasons = {why for listed in (*CODE.values(), *COMMANDS.values()) for why in listed.values()}
    named_tests = {name for why in reasons for name in re.findall(r"\btest_\w+\.py", why)}
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}

    assert named_tests
    assert named_tests <= there
