"""Every Python block of the docs runs, and what it asserts holds."""

from pathlib import Path

import pytest

from tests.docs.blocks import by_page
from tests.docs.not_run import CODE
from tests.docs.python_pages import given, run_page, why_not

PAGES = by_page("python")
ELSEWHERE = {
    "docs/reference/client.md": "tests/contract/test_client.py::test_the_page_about_the_client_tells_the_truth",
}
"""Pages whose blocks need a running part that another test has."""


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in ELSEWHERE and not getattr(given(page), "ON_THE_STACK", False)],
)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGES[page])


def test_what_other_tests_run_is_run_there() -> None:
    for page, test in ELSEWHERE.items():
        path, _, name = test.partition("::")
        text = Path(path).read_text(encoding="utf-8")
        assert page in PAGES
        assert f"def {name}(" in text
        assert Path(page).name in text


def test_each_block_that_is_not_run_is_there_with_its_reason() -> None:
    found = [(block, why) for page in CODE for block in PAGES[page] if (why := why_not(block))]
    for block, why in found:
        print(f"not run: {block}: {why}")  # noqa: T201  # the list is to be seen

    assert len(found) == sum(map(len, CODE.values()))
