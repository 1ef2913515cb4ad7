"""The site: strict about links, and whole without any other host."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.stack import set_up

BUILD = (str(Path(sys.executable).with_name("sphinx-build")), "--quiet", "--nitpicky", "--fail-on-warning")
LOADED = re.compile(
    r"""(?:<(?:script|img|iframe|source)[^>]*\ssrc=|<link[^>]*\shref=|url\(|@import )["']?(?:https?:)?//"""
)


def check(source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = (*BUILD, "--conf-dir", str(source / "docs"), *options, str(source), str(source / "build"))
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def small_site(tmp_path: Path) -> Path:
    """The site's own configuration over three pages."""
    (tmp_path / "docs" / "site").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "conf.py", tmp_path / "docs")
    (tmp_path / "docs" / "index.md").write_text(
        "# Docs\n\n## Start\n\n- [One](one.md)\n- [What](../README.md)\n"
    )
    (tmp_path / "docs" / "one.md").write_text(
        "# One\n\n## A part\n\n[what](../README.md#it-is), [data](../data.json)\n"
    )
    (tmp_path / "README.md").write_text("# What\n\n## It is\n\n[one](docs/one.md#a-part)\n")
    (tmp_path / "data.json").write_text("{}")
    return tmp_path


def test_pages_link_to_each_other_and_to_files_as_they_do_on_a_git_host(small_site: Path) -> None:
    done = check(small_site, "-b", "dummy")

    assert (done.returncode, done.stderr) == (0, "")


def test_links_that_lead_nowhere_and_pages_that_the_index_forgets_fail_the_build(small_site: Path) -> None:
    (small_site / "docs" / "one.md").write_text(
        "# One\n\n## A part\n\n[a page](two.md), [a heading](one.md#another-part), [a file](../data.yaml)\n"
    )
    (small_site / "docs" / "forgotten.md").write_text("# Forgotten\n")

    done = check(small_site, "-b", "dummy", "--keep-going")

    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 4, done.stderr
    for wrong in ("two.md", "another-part", "../data.yaml", "forgotten.md"):
        assert wrong in done.stderr


@pytest.mark.long
def test_the_site_loads_nothing_from_another_host(tmp_path: Path) -> None:
    beside = shutil.ignore_patterns(".git", ".venv", "build", "node_modules", "*_cache", "__pycache__")
    shutil.copytree(ROOT, tmp_path, ignore=beside, dirs_exist_ok=True)
    set_up(tmp_path)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "docs"], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "build/site/index.html\n", "")
    site = tmp_path / "build" / "site"
    written = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert (site / "docs" / "quickstart.html") in written
    assert [str(path) for path in written if LOADED.search(path.read_text(encoding="utf-8"))] == []
