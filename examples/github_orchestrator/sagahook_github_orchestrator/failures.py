"""What is done about a failed check: an agent is asked to mend it, and the pull request is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sagahook.saga import (
    Continue,
    PermanentError,
    Saga,
    StepContext,
    child,
    compensate,
    continue_after,
    step,
    trigger,
)
from sagahook.saga.metrics import note_agent_task
from sagahook_github_orchestrator import agents, comments, words
from sagahook_github_orchestrator.agents import CodegenTrigger
from sagahook_github_orchestrator.events import ATTRIBUTES, FAILED, of_check_run, of_check_suite
from sagahook_github_orchestrator.findings import annotated, failing
from sagahook_github_orchestrator.github import PATIENT, STUBBORN, pages
from sagahook_github_orchestrator.settings import Settings


def _task(ctx: StepContext) -> dict[str, Any]:
    kept = {name: ctx.context[name] for name in ("repository", "pr_number", "branch", "commit_sha")}
    found: Any = ctx.results["findings"]
    return {**kept, "prompt": words.prompt(ctx.context, found)}


def _has_pull_request(ctx: StepContext) -> bool:
    return ctx.context["pr_number"] is not None


class FailureAnalysis(Saga):
    """What both have in common. Where the agent cannot mend it, it is stopped and the comment deleted."""

    deadline = timedelta(days=1)
    attributes = ATTRIBUTES

    @step(retry=PATIENT, timeout=120)
    async def findings(self, ctx: StepContext) -> list[str]:
        """What the check reported, a line each."""
        raise NotImplementedError

    @step(retry=PATIENT, when=_has_pull_request)
    async def comment(self, ctx: StepContext) -> comments.Comment:
        found: Any = ctx.results["findings"]
        return await comments.post(ctx, words.failure(ctx.context, found))

    @compensate("comment", retry=STUBBORN)
    async def uncomment(self, ctx: StepContext, posted: comments.Comment | None) -> None:
        await comments.remove(ctx, posted)

    agent = child(CodegenTrigger, context=_task)

    @step(retry=PATIENT)
    async def mended(self, ctx: StepContext) -> dict[str, Any] | Continue:
        """Looks from time to time until the agent is done; meanwhile nothing runs."""
        task: Any = ctx.results["agent"]
        state, told = await agents.look(ctx, task)
        if state == "running":
            return continue_after(Settings().codegen_every)
        note_agent_task(state)
        if state == "failed":
            raise PermanentError(f"the agent gave up ({told['status']}): {told['codegen_task_url']}")
        return told

    @step(retry=PATIENT)
    async def report(self, ctx: StepContext) -> Any:
        posted: Any = ctx.results.get("comment")
        told: Any = ctx.results["mended"]
        if posted is not None:
            found: Any = ctx.results["findings"]
            await comments.edit(ctx, posted, words.outcome(ctx.context, found, told))
        return told


class CheckFailureAnalysis(FailureAnalysis):
    @trigger(
        source="github",
        event="check_run",
        when=lambda event: event["action"] == "completed" and event["check_run"]["conclusion"] in FAILED,
        idempotency_key=["repository.id", "check_run.id"],
        max_concurrent=5,
        concurrency_key="repository.id",
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return of_check_run(event)

    @step(retry=PATIENT, timeout=120)
    async def findings(self, ctx: StepContext) -> list[str]:
        path = "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations"
        return annotated([each async for page in pages(ctx, path) for each in page])


class CheckSuiteFailureAnalysis(FailureAnalysis):
    @trigger(
        source="github",
        event="check_suite",
        when=lambda event: event["action"] == "completed" and event["check_suite"]["conclusion"] in FAILED,
        idempotency_key=["repository.id", "check_suite.id"],
        max_concurrent=5,
        concurrency_key="repository.id",
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return of_check_suite(event)

    @step(retry=PATIENT, timeout=120)
    async def findings(self, ctx: StepContext) -> list[str]:
        path = "/repos/{owner}/{repo}/check-suites/{check_suite_id}/check-runs"
        return failing([run async for page in pages(ctx, path) for run in page["check_runs"]])
