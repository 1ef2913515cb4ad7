"""Comments on a pull request. GitHub knows no Idempotency-Key, so each comment carries its step's key where nobody sees
it, and is looked for before it is written a second time."""

from __future__ import annotations

from typing import Any, TypedDict

from sagahook.saga import StepContext, http_request
from sagahook_github_orchestrator.github import at, authorised, expecting, pages

_COMMENTS = "/repos/{owner}/{repo}/issues/{pr_number}/comments"


class Comment(TypedDict):
    """mark: what it carries unseen."""

    id: int
    url: str
    mark: str


async def post(ctx: StepContext, text: str) -> Comment:
    """Written once, however often the step is tried."""
    mark = _mark(ctx.idempotency_key)
    found = await _find(ctx, mark) if ctx.attempt > 1 else None
    if found is not None:
        return found
    created = await http_request(
        "POST",
        at(_COMMENTS),
        json=lambda ctx: {"body": f"{text}\n\n{mark}"},
        headers=authorised,
        expect=expecting(201),
    ).ask(ctx)
    return _comment(created.json, mark)


async def edit(ctx: StepContext, comment: Comment, text: str) -> None:
    await http_request(
        "PATCH",
        at(f"/repos/{{owner}}/{{repo}}/issues/comments/{comment['id']}"),
        json=lambda ctx: {"body": f"{text}\n\n{comment['mark']}"},
        headers=authorised,
        expect=expecting(200),
    ).ask(ctx)


async def remove(ctx: StepContext, comment: Comment | None) -> None:
    """comment: None where it is not known whether it was written. One that somebody else deleted is gone too."""
    found = comment or await _find(ctx, _mark(ctx.action_key))
    if found is not None:
        await http_request(
            "DELETE",
            at(f"/repos/{{owner}}/{{repo}}/issues/comments/{found['id']}"),
            headers=authorised,
            expect=expecting(204, 404),
        ).ask(ctx)


async def _find(ctx: StepContext, mark: str) -> Comment | None:
    async for page in pages(ctx, _COMMENTS):
        for each in page:
            if mark in (each["body"] or ""):
                return _comment(each, mark)
    return None


def _comment(told: Any, mark: str) -> Comment:
    return {"id": told["id"], "url": told["html_url"], "mark": mark}


def _mark(key: str) -> str:
    return f"<!-- sagahook {key} -->"
