"""What GitHub's endpoint takes of GitHub's events (api.md §2)."""

from __future__ import annotations

from sagahook_schemas.base import JsonValue

SOURCE = "github"

_RECORDED = frozenset({"installation", "installation_repositories", "ping"})
"""Kept for whoever asks, and nothing more."""

_ACTIONS = {
    "pull_request": frozenset({"opened", "synchronize", "reopened", "ready_for_review"}),
    "check_run": frozenset({"completed"}),
    "check_suite": frozenset({"completed"}),
}
_BRANCHES = ("refs/heads/main", "refs/heads/master")


def recorded_only(event_type: str, event: JsonValue) -> str:
    """Why the event is recorded and starts nothing, whatever the triggers want; "" where they decide.

    An event type that the table does not know is the triggers' to decide.
    """
    fields = event if isinstance(event, dict) else {}
    if event_type in _RECORDED:
        return f"{event_type} is recorded only"
    wanted = _ACTIONS.get(event_type)
    if wanted is not None and fields.get("action") not in wanted:
        return f"{event_type} is recorded only, but for {', '.join(sorted(wanted))}"
    if event_type == "push" and fields.get("ref") not in _BRANCHES:
        return "push is recorded only, but for main and master"
    return ""


def action_of(event: JsonValue) -> JsonValue:
    """The payload's own word for what happened; None where it has none."""
    return event.get("action") if isinstance(event, dict) else None
