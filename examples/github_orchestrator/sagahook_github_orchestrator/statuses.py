"""The commit status of an analysis: what is set, and how it is set back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from sagahook.saga import StepContext, StepOptions, http_request, http_step
from sagahook.saga.http import HttpStep
from sagahook_github_orchestrator.github import PATIENT, STUBBORN, at, authorised, expecting, pages

CONTEXT = "sagahook/analysis"
"""The name under which GitHub shows it."""

_STATUSES = "/repos/{owner}/{repo}/statuses/{commit_sha}"
_SHOWN = 140
"""Characters of a description that GitHub takes."""

Status = dict[str, Any]


def status(state: str, description: str, url: str | None = None) -> Status:
    """state: pending, success, failure or error."""
    return {
        "context": CONTEXT,
        "state": state,
        "description": description[:_SHOWN],
        **({"target_url": url} if url else {}),
    }


async def current(ctx: StepContext) -> Status | None:
    """What the commit's status was before."""
    async for page in pages(ctx, "/repos/{owner}/{repo}/commits/{commit_sha}/status"):
        for each in page["statuses"]:
            if each["context"] == CONTEXT:
                return status(each["state"], each["description"] or "", each["target_url"])
    return None


def set_status(
    made: Status | Callable[[StepContext], Status], *, undo: bool, **options: Unpack[StepOptions]
) -> HttpStep:
    """A step that sets it. Set twice it is the same, so a repeated attempt does no harm. undo: whether undoing this
    step sets back what the step `status_before` found: a status cannot be deleted."""
    options.setdefault("retry", PATIENT)
    return http_step(
        "POST",
        at(_STATUSES),
        json=made,
        headers=authorised,
        expect=expecting(201),
        compensate=_SET_BACK if undo else None,
        **options,
    )


def _before(ctx: StepContext) -> Status:
    found: Any = ctx.results.get("status_before")
    return found or status("error", "The analysis was called off")


_SET_BACK = http_request(
    "POST", at(_STATUSES), json=_before, headers=authorised, expect=expecting(201), retry=STUBBORN
)
