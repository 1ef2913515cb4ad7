"""What of the pages no test runs, each with why, and with what holds it instead. The tests print this list, and fail
where an entry fits nothing any more: it cannot grow, or go stale, without somebody seeing it."""

LONG_RUNNING = "runs until it is stopped; tests/integration and tests/e2e start each service"

CODE: dict[str, dict[str, str]] = {
    "docs/reference/participants.md": {
        "while True:": "runs for ever: tests/integration/test_participants_end_to_end.py has such a participant",
    },
}
"""By page: a line of the block. Its syntax is checked all the same."""

COMMANDS: dict[str, dict[str, str]] = {}
"""By page: the command, on one line and without its comment."""
