"""The blocks that hold data are what they show: sources that ingest takes, records of the contract that is named,
services that there are. And every block says what it is."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from sagahook.runtime.source_configuration import SourceConfiguration
from tests.docs.blocks import LANGUAGES, ROOT, Block, blocks

COMMAND = re.compile(r"^(\$ )?(sagahook|curl|make|docker|kubectl|pip|python|psql|pg_\w+|git)\b", re.M)


def test_every_block_says_what_it_is() -> None:
    assert [str(block) for block in blocks() if block.language not in LANGUAGES] == []


def test_a_block_of_text_hides_no_command() -> None:
    assert [str(block) for block in blocks("text") if COMMAND.search(block.text)] == []


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_what_is_shown_of_a_source_can_be_used(block: Block, tmp_path: Path) -> None:
    tomllib.loads(block.text)
    (tmp_path / "sources.toml").write_text(block.text)

    told = SourceConfiguration.of({"SAGAHOOK_SOURCES_FILE": str(tmp_path / "sources.toml")}, frozenset())

    assert [str(problem) for problem in told.read().problems] == []


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json_and_of_the_contract_that_it_names(block: Block) -> None:
    shown = json.loads(block.text)

    if named := block.notes.get("schema"):
        path, _, part = named.partition("#")
        document = json.loads((ROOT / "schemas" / path).read_text())
        Draft202012Validator({**document, "$ref": f"#{part}"} if part else document).validate(shown)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_what_is_laid_over_a_file_fits_that_file(block: Block) -> None:
    """The note says which: services that it has, objects that it has."""
    shown = yaml.safe_load(block.text)
    below = yaml.safe_load((ROOT / block.notes["over"]).read_text())

    assert _unknown(shown, below) == []


def _unknown(shown: dict[str, Any], below: dict[str, Any]) -> list[str]:
    """Of the first two levels: the file's own parts, which are overridden by name."""
    return [
        f"{key}.{name}"
        for key, parts in shown.items()
        for name in parts
        if key not in below or name not in below[key]
    ]


@pytest.mark.parametrize("block", blocks("dockerfile"), ids=str)
def test_a_dockerfile_passes_the_linter(block: Block) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "-"], input=block.text, text=True, capture_output=True, check=False)

    assert done.stdout == ""
