"""Whom the command line asks where nobody says: the stack that its user runs on this machine."""

from pathlib import Path

import pytest

from sagahook.cli.sagas_client import DEFAULT_URL, address
from sagahook.embedded.registry import DataLock, RunningStack, register, unregister, write_description

HERE = {"api": "http://127.0.0.1:9123", "keys": {"admin": "the admin's key"}}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stack that runs leaves for others to see, in a temporary directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    return data


def test_the_one_stack_that_runs_here_is_asked_by_its_admins_key(stack: Path) -> None:
    lock = DataLock(stack)
    lock.acquire()
    register(RunningStack(pid=1, data=stack, temporary=False))
    write_description(stack, HERE)
    try:
        assert address(DEFAULT_URL, None) == ("http://127.0.0.1:9123", "the admin's key")
    finally:
        unregister(stack)
        lock.release()


def test_a_key_or_an_address_that_is_given_is_left_alone(stack: Path) -> None:
    assert address("https://hooks.example", None) == ("https://hooks.example", None)
    assert address(DEFAULT_URL, "mine") == (DEFAULT_URL, "mine")


def test_where_no_stack_runs_the_usual_address_is_asked_without_a_key(stack: Path) -> None:
    assert address(DEFAULT_URL, None) == (DEFAULT_URL, None)
