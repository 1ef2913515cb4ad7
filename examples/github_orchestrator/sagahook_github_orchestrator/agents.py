"""The code-generation agent, by Codegen's API: https://docs.codegen.com/api-reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sagahook.saga import Retry, Saga, StepContext, compensate, http_request, step
from sagahook.saga.http import HttpAnswer
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
            body = {
                "prompt": ctx.context["prompt"],
                "metadata": {"sagahook": ctx.idempotency_key, "repository": ctx.context["repository"]},
            }
            found = (
                await http_request("POST", run_url(""), json=lambda ctx: body, headers=_authorised).ask(ctx)
            ).json
        note_agent_task("started")
        return _task(found)

    @compensate("start", retry=_STUBBORN)
    async def stop(self, ctx: StepContext, task: dict[str, Any] | None) -> None:
        known = task or _task(await _find(ctx, ctx.action_key))
        if known:
            body = {"agent_run_id": known["codegen_task_id"]}
            stopping = http_request(
                "POST",
                run_url("/ban"),
                json=lambda ctx: body,
                headers=_authorised,
                expect={200, 202, 204, 404},
            )
            await stopping.ask(ctx)


async def look(ctx: StepContext, task: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """How an agent stands, and what it says of its work."""
    run: Any = (await _get(ctx, run_url(f"/{task['codegen_task_id']}"))).json
    said = str(run["status"] or "").lower()
    told = {
        **_task(run),
        "summary": run.get("summary") or run.get("result") or "",
        "pull_requests": [each["url"] for each in run.get("github_pull_requests") or []],
    }
    return "completed" if said in _COMPLETED else "failed" if said in _FAILED else "running", told


def run_url(rest: str) -> str:
    settings = Settings()
    return f"{settings.codegen_api_url}/v1/organizations/{settings.codegen_org_id}/agent/run{rest}"


async def _find(ctx: StepContext, key: str) -> Any:
    newest: Any = (await _get(ctx, f"{run_url('s')}?limit={_NEWEST}")).json
    return next((run for run in newest["items"] if (run["metadata"] or {}).get("sagahook") == key), None)


async def _get(ctx: StepContext, url: str) -> HttpAnswer:
    return await http_request("GET", url, headers=_authorised).ask(ctx, limit=8_000_000)


def _task(run: Any) -> dict[str, Any]:
    return (
        {}
        if run is None
        else {
            "codegen_task_id": str(run["id"]),
            "codegen_task_url": run["web_url"],
            "status": run["status"],
        }
    )


def _authorised(ctx: StepContext) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {Settings().codegen_token.get_secret_value()}"}
