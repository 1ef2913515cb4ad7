"""What `sagahook sagas list` prints, on wide terminals and on narrow ones."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from sagahook.cli.sagas_view import show_all

DONE: dict[str, Any] = {
    "saga_id": "c2cd24e8-417e-5c9f-a3c8-a23029c89ffa",
    "name": "order",
    "version": 1,
    "state": "COMPLETED",
}
DONE |= {"progress": 1.0, "updated_at": "2026-01-01T00:00:00Z", "error": None}
UNDONE = DONE | {"state": "ROLLED_BACK", "progress": 0.33, "error": "PermanentError: " + "declined, " * 20}


def printed(width: int, *sagas: dict[str, Any]) -> list[str]:
    console = Console(file=StringIO(), width=width)
    show_all(console, sagas)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 140])
def test_states_and_ids_are_whole_on_every_terminal(width: int) -> None:
    text = "\n".join(printed(width, DONE, UNDONE))
    assert [
        word for word in (DONE["saga_id"], "COMPLETED", "ROLLED_BACK", "33%", "order v1") if word not in text
    ] == []


def test_on_a_narrow_one_a_saga_takes_a_line_and_its_error_one_more() -> None:
    heading, done, undone, why = printed(80, DONE, UNDONE)
    assert heading.split() == ["SAGA", "STATE", "DONE", "NAME"]
    assert (done.split()[1], undone.split()[1]) == ("COMPLETED", "ROLLED_BACK")
    assert why.strip().startswith("PermanentError: declined")
    assert max(map(len, (done, undone, why))) <= 80
