"""What the documents show is so: examples can be deployed, and tests that are named exist."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sagahook.cli.main import app

ROOT = Path(__file__).parents[2]
LANGUAGE = ROOT / "docs" / "reference" / "saga-language.md"
FEATURES = ROOT / "docs" / "reference" / "features.md"

_EXAMPLE = re.compile(
    r"```python\n(?P<code>.*?)```(?:\n\n```console\n\$ sagahook check shop\.py\n(?P<told>.*?)```)?", re.S
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where an example stands; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("number", range(8))
def test_an_example_of_the_language_can_be_deployed_and_is_told_as_shown(number: int, folder: Path) -> None:
    examples = list(_EXAMPLE.finditer(LANGUAGE.read_text()))
    assert len(examples) == 8
    (folder / "shop.py").write_text(examples[number]["code"])

    result = CliRunner().invoke(app, ["check", "shop.py"])

    assert result.exit_code == 0, result.output
    assert examples[number]["told"] in (None, result.output)


def test_every_test_that_the_features_name_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", FEATURES.read_text()))
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"def (test_[a-z0-9_]+)\(", path.read_text())
    }

    assert named, "the table names no test"
    assert named <= there
