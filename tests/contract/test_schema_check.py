"""`sagahook schemas check`: on this repository as it is, and on small ones whose history was taken back."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sagahook.cli import contracts
from sagahook.cli.main import app
from sagahook.cli.schema_history import NoHistory, published

HERE = Path(__file__).parents[2]
STARTED = "schemas/json/sagahook.saga.started.v1.json"
REMOVED_TYPE = "schemas/json/sagahook.saga.paused.v1.json"
EXAMPLE = "schemas/examples/sagahook.saga.completed/v1/order.json"


@dataclass
class Repository:
    root: Path

    def git(self, *arguments: str) -> str:
        told = ("-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *told, *arguments],
            cwd=self.root,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "--short", "HEAD")

    def publish_with_field(self, name: str) -> str:
        """A commit in which a saga's start had one more field than the models have; then the models' again."""
        schema = json.loads(contracts.generated(self.root)[STARTED])
        schema["properties"][name] = {"type": "string"}
        self.write(STARTED, json.dumps(schema))
        commit = self.commit()
        contracts.write(self.root)
        return commit

    def broken(self) -> list[str]:
        history = published(self.root, contracts.SCHEMAS, contracts.EXAMPLES)
        return contracts.broken_promises(self.root, history)


_SLOW = ("json_schemas", "command_reference", "events_reference")


@pytest.fixture(scope="module")
def made() -> dict[str, Callable[[], Any]]:
    return {name: cache(getattr(contracts, name)) for name in _SLOW}


@pytest.fixture
def made_once(made: dict[str, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes of the models is the same in each of the tests, and takes half a second."""
    for name, cached in made.items():
        monkeypatch.setattr(contracts, name, cached)


@pytest.fixture
def repository(tmp_path: Path, made_once: None) -> Repository:
    """One commit with what the models generate and one example."""
    repository = Repository(tmp_path)
    repository.git("init", "--quiet", "--initial-branch=main")
    contracts.write(tmp_path)
    repository.write(EXAMPLE, '{"name": "order"}\n')
    repository.commit()
    return repository


# --- drift and examples


def test_what_is_committed_here_is_what_the_models_say_and_every_contract_has_an_example_that_fits() -> None:
    assert contracts.drift(HERE) == []
    assert list(contracts.example_problems(HERE)) == []


def test_what_is_generated_twice_is_the_same() -> None:
    assert contracts.generated(HERE) == contracts.generated(HERE)


@pytest.mark.usefixtures("made_once")
@pytest.mark.parametrize("path", [STARTED, contracts.ASYNCAPI, "docs/reference/topics.md"])
def test_an_edited_or_lost_generated_file_is_named_with_what_to_run(tmp_path: Path, path: str) -> None:
    contracts.write(tmp_path)
    (tmp_path / path).write_text("{}")
    edited = contracts.drift(tmp_path)
    (tmp_path / path).unlink()
    lost = contracts.drift(tmp_path)

    assert edited == lost == [f"{path} is not what the models say: run `make schemas`"]


@pytest.mark.usefixtures("made_once")
def test_writing_mends_what_drifted_and_removes_what_nothing_generates(tmp_path: Path) -> None:
    contracts.write(tmp_path)
    (tmp_path / STARTED).write_text("{}")
    (tmp_path / REMOVED_TYPE).write_text("{}")

    assert contracts.write(tmp_path) == [REMOVED_TYPE, STARTED]
    assert contracts.drift(tmp_path) == []
    assert contracts.write(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (EXAMPLE, "{}", "name: Field required"),
        (EXAMPLE, "not JSON", "Invalid JSON"),
        ("schemas/examples/sagahook.saga.vanished/v1/a.json", "{}", "no contract is known"),
        ("schemas/examples/sagahook.saga.completed/v9/a.json", '{"name": "order"}', "no contract is known"),
    ],
)
def test_an_example_that_no_contract_reads_is_refused(
    tmp_path: Path, path: str, text: str, said: str
) -> None:
    Repository(tmp_path).write(path, text)

    (refused,) = (problem for problem in contracts.example_problems(tmp_path) if problem.startswith(path))

    assert said in refused


def test_a_contract_without_an_example_is_told_where_to_put_one(tmp_path: Path) -> None:
    problems = list(contracts.example_problems(tmp_path))

    assert any("add schemas/examples/sagahook.saga.completed/v1/" in problem for problem in problems)


# --- breaking changes


def test_what_was_published_and_is_unchanged_breaks_nothing(repository: Repository) -> None:
    assert repository.broken() == []


def test_a_field_taken_back_is_refused_before_it_is_committed(repository: Repository) -> None:
    commit = repository.publish_with_field("legacy")

    (broken,) = repository.broken()

    assert broken.startswith(
        f"{STARTED}: `legacy` was removed; a breaking change is a new version of the type"
    )
    assert f" in {commit}" in broken


def test_a_field_taken_back_is_refused_for_ever_however_many_commits_follow(repository: Repository) -> None:
    repository.publish_with_field("legacy")
    repository.commit()
    repository.commit()

    assert len(repository.broken()) == 1


def test_a_break_in_a_merge_itself_is_refused(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--no-commit", "work")
    repository.publish_with_field("legacy")
    repository.commit()

    assert len(repository.broken()) == 1


def test_a_type_taken_back_is_refused(repository: Repository) -> None:
    repository.write(REMOVED_TYPE, "{}")
    repository.commit()
    contracts.write(repository.root)

    (broken,) = repository.broken()

    assert broken.startswith(f"{REMOVED_TYPE}: the type sagahook.saga.paused.v1 was removed")


def test_a_changed_example_is_refused_also_once_it_is_committed(repository: Repository) -> None:
    repository.write(EXAMPLE, '{"name": "another"}\n')
    before = repository.broken()
    repository.commit()

    (broken,) = before
    assert broken.startswith(f"{EXAMPLE} was changed: examples stay as they are")
    assert repository.broken() == before


def test_a_removed_example_is_refused_until_it_is_back(repository: Repository) -> None:
    text = (repository.root / EXAMPLE).read_text()
    (repository.root / EXAMPLE).unlink()
    repository.commit()

    (broken,) = repository.broken()
    assert broken.startswith(f"{EXAMPLE} was removed")

    repository.write(EXAMPLE, text)
    assert repository.broken() == []


def test_a_further_example_is_welcome(repository: Repository) -> None:
    repository.write(EXAMPLE.replace("order", "refund"), '{"name": "refund"}')

    assert repository.broken() == []


def test_work_that_is_not_on_origins_main_may_change_its_mind(repository: Repository) -> None:
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    repository.publish_with_field("legacy")
    repository.commit()
    assert repository.broken() == []

    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert len(repository.broken()) == 1


def test_what_main_gained_since_the_branch_began_is_not_missed_on_it(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "work")
    repository.git("checkout", "--quiet", "main")
    repository.write(REMOVED_TYPE, "{}")
    repository.git("update-ref", "refs/remotes/origin/main", repository.commit())
    repository.git("checkout", "--quiet", "work")

    assert repository.broken() == []


def test_a_version_that_no_log_holds_can_be_abandoned_by_name(repository: Repository) -> None:
    repository.publish_with_field("legacy")
    (broken,) = repository.broken()
    (blob,) = re.findall("published as ([0-9a-f]{12})", broken)

    repository.write(contracts.ABANDONED, f"{blob} `legacy` was never written: no release had it\n")

    assert repository.broken() == []


def test_where_nothing_is_committed_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    Repository(tmp_path).git("init", "--quiet")

    with pytest.raises(NoHistory, match="nothing is committed"):
        published(tmp_path, contracts.SCHEMAS)


# --- the command


@pytest.fixture
def checkout(tmp_path: Path, made_once: None) -> Repository:
    """As an unpacked source archive has it: every file that the command reads, and no history."""
    shutil.copytree(HERE / contracts.EXAMPLES, tmp_path / contracts.EXAMPLES)
    (tmp_path / "schemas" / "sagahook_schemas").mkdir()
    contracts.write(tmp_path)
    return Repository(tmp_path)


def check(repository: Repository) -> Result:
    return CliRunner().invoke(app, ["schemas", "check", "--root", str(repository.root)])


def test_outside_git_the_check_passes_and_says_what_it_could_not_compare(checkout: Repository) -> None:
    checked = check(checkout)

    assert checked.exit_code == 0
    assert "not compared with what was published: " in checked.stdout


def test_the_check_fails_and_names_every_problem(checkout: Repository) -> None:
    checkout.git("init", "--quiet", "--initial-branch=main")
    checkout.publish_with_field("legacy")
    for example in (checkout.root / EXAMPLE).parent.iterdir():
        example.unlink()

    checked = check(checkout)

    assert checked.exit_code == 1
    assert "`legacy` was removed" in checked.stderr
    assert f"{EXAMPLE} was removed" in checked.stderr
    assert "sagahook.saga.completed.v1 has no example" in checked.stderr


def test_the_command_refuses_a_directory_that_is_not_the_repository(tmp_path: Path) -> None:
    checked = check(Repository(tmp_path))

    assert checked.exit_code == 1
    assert "not sagahook's repository" in checked.stderr
