"""What changed, and how its checks stand: of a pull request, and of a push to the main branch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sagahook.saga import Continue, Saga, StepContext, compensate, continue_after, step, trigger
from sagahook_github_orchestrator import comments, statuses, words
from sagahook_github_orchestrator.events import ATTRIBUTES, of_pull_request, of_push
from sagahook_github_orchestrator.findings import changes, summed_up
from sagahook_github_orchestrator.github import (
    PATIENT,
    STUBBORN,
    at,
    first_page,
    from_page,
    next_page,
    pages,
    read,
)
from sagahook_github_orchestrator.settings import Settings
from sagahook_github_orchestrator.statuses import set_status, status

_CHECKS = "/repos/{owner}/{repo}/commits/{commit_sha}/check-runs"


class PullRequestAnalysis(Saga):
    """One for each head commit of a pull request: a pending status, then a comment, then the status that it earns.
    Where one of them cannot be, the comment is deleted and the status set back."""

    deadline = timedelta(hours=6)
    attributes = ATTRIBUTES

    @trigger(
        source="github",
        event="pull_request",
        when=lambda event: event["action"] in {"opened", "synchronize", "reopened", "ready_for_review"},
        idempotency_key=["repository.id", "pull_request.number", "pull_request.head.sha"],
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return of_pull_request(event)

    @step(retry=PATIENT)
    async def status_before(self, ctx: StepContext) -> statuses.Status | None:
        return await statuses.current(ctx)

    announce = set_status(status("pending", "Reading the changes, waiting for the checks"), undo=True)

    @step(after=["announce"], retry=PATIENT, timeout=120)
    async def files(self, ctx: StepContext) -> dict[str, Any]:
        return changes(
            [
                each
                async for page in pages(ctx, "/repos/{owner}/{repo}/pulls/{pr_number}/files")
                for each in page
            ]
        )

    @step(after=["announce"], retry=PATIENT, timeout=60)
    async def checks(self, ctx: StepContext) -> dict[str, Any] | Continue:
        """Looks again while some are running. What did not change since the last look is not sent again."""
        known: Any = ctx.carry or {"looks": 0, "etag": "", "found": {}}
        first = await read(ctx, first_page(ctx, _CHECKS), etag=known["etag"])
        found = known["found"]
        if first.status != 304:
            found = summed_up([run async for page in from_page(ctx, first) for run in page["check_runs"]])
        settings = Settings()
        if not found["running"] or known["looks"] + 1 >= settings.github_checks_looks:
            return dict(found)
        # An ETag speaks for its own page only.
        etag = "" if next_page(first) else first.headers.get("etag", "")
        return continue_after(
            settings.github_checks_every, {"looks": known["looks"] + 1, "etag": etag, "found": found}
        )

    @step(after=["files", "checks"], retry=PATIENT)
    async def comment(self, ctx: StepContext) -> comments.Comment:
        return await comments.post(ctx, words.analysis(ctx.results["files"], ctx.results["checks"]))

    @compensate("comment", retry=STUBBORN)
    async def uncomment(self, ctx: StepContext, posted: comments.Comment | None) -> None:
        await comments.remove(ctx, posted)

    conclude = set_status(
        lambda ctx: words.verdict(ctx.results["checks"], ctx.results["comment"]), undo=False
    )


class PushAnalysis(Saga):
    """One for each push to main or master: what it changed, as a commit status."""

    attributes = ATTRIBUTES

    @trigger(
        source="github",
        event="push",
        when=lambda event: event["ref"] in {"refs/heads/main", "refs/heads/master"} and not event["deleted"],
        idempotency_key=["repository.id", "ref", "after"],
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return of_push(event)

    @step(retry=PATIENT, timeout=60)
    async def compare(self, ctx: StepContext) -> dict[str, Any]:
        """A branch that was just created has nothing to be compared with: then it is what its last commit changed."""
        whole = "/repos/{owner}/{repo}/compare/{before}...{commit_sha}"
        last = "/repos/{owner}/{repo}/commits/{commit_sha}"
        found: Any = (await read(ctx, at(last if ctx.context["created"] else whole)(ctx))).json
        return changes(found["files"])

    @step(retry=PATIENT)
    async def status_before(self, ctx: StepContext) -> statuses.Status | None:
        return await statuses.current(ctx)

    conclude = set_status(
        lambda ctx: status("success", words.sum_of(ctx.results["compare"]), str(ctx.context["url"])),
        undo=True,
    )
