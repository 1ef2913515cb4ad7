"""`sagahook examples`: what there is, what is meant by a name, and what is said where there is none."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sagahook.cli.examples_catalogue import CATALOGUE, Entry, entry
from sagahook.cli.main import app
from sagahook.embedded.errors import StackError
from sagahook.embedded.example import Place
from sagahook.saga import load_app

EXAMPLES = Path(__file__).parents[2] / "examples"
every_example = pytest.mark.parametrize("example", CATALOGUE, ids=lambda each: each.name)


def test_every_example_is_listed_with_what_it_shows() -> None:
    said = CliRunner().invoke(app, ["examples", "list"]).output
    assert [each.name for each in CATALOGUE if f"{each.name} " not in said or each.summary not in said] == []


@pytest.mark.parametrize("name", ["approvals", "approvals/", "examples/approvals"])
def test_an_example_is_found_by_its_name_or_folder(name: str) -> None:
    assert entry(name).name == "approvals"


@pytest.mark.parametrize(
    ("name", "said"),
    [("aprovals", "Did you mean approvals?"), ("zzz", "There are: orders, "), ("", "There are: orders, ")],
)
def test_a_name_that_there_is_not_is_answered_with_one_that_there_is(name: str, said: str) -> None:
    with pytest.raises(StackError, match=said.replace("?", r"\?")):
        entry(name)


def test_an_example_whose_framework_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(StackError, match=r"pip install 'sagahook\[embedded,flask\]'"):
        Entry("a", "sagahook_no_such_example", "", extra="flask").load()


@every_example
def test_an_example_has_a_readme_that_names_its_command(example: Entry) -> None:
    assert f"sagahook examples run {example.name}" in (EXAMPLES / example.name / "README.md").read_text()


@every_example
def test_what_an_example_plays_on_can_be_said_before_anything_starts(example: Entry, tmp_path: Path) -> None:
    place = Place(tmp_path)
    stage = example.load().stage(place)
    gaps = dict.fromkeys(("api", "app", "secret", "reader", "operator", "admin"), "")
    example.load().poke.format(**gaps, **place.urls())
    place.release()
    assert len({server.name for server in stage.servers}) == len(stage.servers)
    assert load_app(stage.app).definitions()
