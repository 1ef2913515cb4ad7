"""What the sagas keep of GitHub's webhooks. Pure."""

from __future__ import annotations

from typing import Any

ATTRIBUTES = {
    "repository": "repository",
    "pr_number": "pr_number",
    "branch": "branch",
    "commit_sha": "commit_sha",
}
"""By what the sagas are found."""

FAILED = frozenset({"failure", "timed_out", "startup_failure"})
"""Conclusions of a check for which an agent is called."""

Event = dict[str, Any]


def of_pull_request(event: Event) -> dict[str, Any]:
    pull = event["pull_request"]
    return {
        **_repository(event),
        "pr_number": pull["number"],
        "branch": pull["head"]["ref"],
        "commit_sha": pull["head"]["sha"],
        "title": pull["title"],
    }


def of_push(event: Event) -> dict[str, Any]:
    return {
        **_repository(event),
        "branch": event["ref"].removeprefix("refs/heads/"),
        "before": event["before"],
        "commit_sha": event["after"],
        "created": event["created"],
        "url": event["compare"],
    }


def of_check_run(event: Event) -> dict[str, Any]:
    run = event["check_run"]
    suite = run["check_suite"] or {}
    return {
        **_repository(event),
        "check": run["name"],
        "check_run_id": run["id"],
        "conclusion": run["conclusion"],
        "branch": suite.get("head_branch"),
        "commit_sha": run["head_sha"],
        "pr_number": _number(run),
        "url": run["html_url"],
    }


def of_check_suite(event: Event) -> dict[str, Any]:
    suite = event["check_suite"]
    return {
        **_repository(event),
        "check": (suite["app"] or {}).get("name", "checks"),
        "check_suite_id": suite["id"],
        "conclusion": suite["conclusion"],
        "branch": suite["head_branch"],
        "commit_sha": suite["head_sha"],
        "pr_number": _number(suite),
        "url": f"{event['repository']['html_url']}/commit/{suite['head_sha']}/checks",
    }


def _repository(event: Event) -> dict[str, Any]:
    owner, _, repo = event["repository"]["full_name"].partition("/")
    return {"repository": f"{owner}/{repo}", "owner": owner, "repo": repo}


def _number(checked: Event) -> int | None:
    """The pull request that a check belongs to. GitHub names none where it comes from a fork, or from a push."""
    pulls: list[Any] = checked["pull_requests"]
    number: int | None = pulls[0]["number"] if pulls else None
    return number
