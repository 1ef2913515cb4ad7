"""The code-generation agent, by Codegen's API: https://docs.codegen.com/api-reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, http_request, step
from sagahook.saga.metrics import note_agent_task
from sagahook_github_orchestrator.events import ATTRIBUTES
from sagahook_github_orchestrator.settings import Settings

_PATIENT = Retry(max=8, initial=5, factor=2, cap=300)
_STUBBORN = Retry(max=20, initial=5, factor=2, cap=900)
_COMPLETED = frozenset({"complete", "completed"})
_FAILED = frozenset(
    {"error", "failed", "cancelled", "timeout", "max_iterations_reached", "out_of_tokens", "stopped"}
)
_NEWEST = 100
"""Runs that are looked through for one that a lost answer may have begun."""
_BYTES = 8_000_000

State = Literal["running", "completed", "failed"]


class CodegenTrigger(Saga):
    """Gives a task to an agent. The context has its `prompt`; the result has `codegen_task_id` and `codegen_task_url`.
    Undone, the agent is stopped."""

    attributes = ATTRIBUTES

    @step(retry=_PATIENT)
    async def start(self, ctx: StepContext) -> dict[str, Any]:
        """The API knows no Idempotency-Key: a second attempt looks among the newest runs for what the first began."""
        found = await _find(ctx, ctx.idempotency_key) if ctx.attempt > 1 else None
        if found is None:
            metadata = {"sagahook": ctx.idempotency_key, "repository": ctx.context["repository"]}
            found = await _post(ctx, _url(), {"prompt": ctx.context["prompt"], "metadata": metadata})
        note_agent_task("started")
        return _task(found)

    @compensate("start", retry=_STUBBORN)
    async def stop(self, ctx: StepContext, task: dict[str, Any] | None) -> None:
        """task: None where it is not known whether one began. One that is not there any more need not be stopped."""
        found = await _find(ctx, ctx.action_key) if task is None else None
        known = _task(found) if found is not None else task
        if known is not None:
            await _post(ctx, _url("/ban"), {"agent_run_id": int(known["codegen_task_id"])}, expect={200, 404})


async def look(ctx: StepContext, task: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """How an agent stands, and what it says of its work."""
    run: Any = await _get(ctx, _url(f"/{task['codegen_task_id']}"))
    said = str(run["status"] or "").lower()
    told = {
        **_task(run),
        "summary": run.get("summary") or run.get("result") or "",
        "pull_requests": [each["url"] for each in run.get("github_pull_requests") or []],
    }
    return "completed" if said in _COMPLETED else "failed" if said in _FAILED else "running", told


def _url(rest: str = "") -> str:
    settings = Settings()
    return f"{settings.codegen_api_url}/v1/organizations/{settings.codegen_org_id}/agent/run{rest}"


async def _find(ctx: StepContext, key: str) -> Any:
    newest: Any = await _get(ctx, _url(f"s?limit={_NEWEST}"))
    return next((run for run in newest["items"] if (run["metadata"] or {}).get("sagahook") == key), None)


async def _get(ctx: StepContext, url: str) -> Any:
    answer = await http_request("GET", url, headers=_authorised).ask(ctx, limit=_BYTES)
    return answer.json


async def _post(ctx: StepContext, url: str, body: dict[str, Any], expect: set[int] | None = None) -> Any:
    asked = http_request("POST", url, json=lambda ctx: body, headers=_authorised, expect=expect)
    return (await asked.ask(ctx, limit=_BYTES)).json


def _task(run: Any) -> dict[str, Any]:
    return {
        "codegen_task_id": str(run["id"]),
        "codegen_task_url": run["web_url"],
        "status": run["status"],
    }


def _authorised(ctx: StepContext) -> Mapping[str, str]:
    """Raises PermanentError: without these two nobody works."""
    settings = Settings()
    token = settings.codegen_token.get_secret_value()
    if not token or not settings.codegen_org_id:
        raise PermanentError("no agent was asked: set CODEGEN_TOKEN and CODEGEN_ORG_ID, and retry the saga")
    return {"Authorization": f"Bearer {token}"}
