"""The pages that are made from the code have all of it, and nothing of the machine that made them."""

import re
from importlib import import_module

import pytest
from typer.testing import CliRunner

from sagahook.cli.api_reference import PAGES, api_references, public
from sagahook.cli.command_reference import command_reference
from sagahook.cli.events_reference import events_reference
from sagahook.cli.main import app
from sagahook_schemas.codec import CONTRACTS


def sections(page: str) -> set[str]:
    return set(re.findall(r"^##+ (.+)$", page, re.M))


@pytest.mark.parametrize("words", [(), ("sagas",), ("endpoints",), ("dlq",)], ids=" ".join)
def test_every_command_that_help_lists_has_a_section(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*words, "--help"]).output
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", told, re.M)

    assert len(listed) > 2
    assert {" ".join(("sagahook", *words, name)) for name in listed} <= sections(command_reference())


def test_a_command_is_told_with_its_options_and_where_they_come_from_otherwise() -> None:
    page = command_reference()

    _, _, told = page.partition("\n### sagahook sagas signal\n")
    told = told.partition("\n### ")[0]
    assert "`sagahook sagas signal SIGNAL [SAGA_ID] [OPTIONS]`" in told
    assert "| `--payload PAYLOAD` | JSON, for the step that waits for it." in told
    assert re.search(r"^\| `--key KEY` \| .*\(else `SAGAHOOK_KEY`\) \|$", told, re.M)


@pytest.mark.parametrize("name", PAGES)
def test_every_public_name_of_a_module_has_a_section(name: str) -> None:
    page = api_references()[name]
    shown = {each for module in PAGES[name] for each in public(import_module(module))} - {"models"}

    assert shown <= sections(page)
    assert not re.search(r"at 0x[0-9a-f]+", page)


def test_what_a_client_can_ask_is_told_with_its_answer() -> None:
    page = api_references()["client"]

    _, _, told = page.partition("\n### Client.cancel_saga\n")
    assert ") -> " in told.partition("\n### ")[0]
    assert "Call[" not in told.partition("\n### ")[0]


def test_every_record_type_has_a_section_with_its_fields_and_its_schema() -> None:
    page = events_reference()

    assert CONTRACTS.keys() <= sections(page)
    _, _, told = page.partition("\n### sagahook.saga.suspended.v1\n")
    told = told.partition("\n### ")[0]
    assert "(../../schemas/json/sagahook.saga.suspended.v1.json)" in told
    assert "| `reason` | string |" in told
    assert "`definition`, `losses`, `forward`" in told
