"""The saga: an expense's budget is held, its manager asked, and it is paid once that person says yes in time."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from sagahook.saga import CodeContext, PermanentError, Retry, StepContext, http_request, saga

ANSWER_WITHIN = timedelta(days=3).total_seconds()
"""Seconds, where the expense names no other time."""

_STUBBORN = Retry(max=12, initial=0.2, cap=5)
"""For what undoes: giving up there leaves something behind."""


@saga(
    source="expense_submitted",
    idempotency_key="expense_id",
    attributes={"employee": "employee", "manager": "manager"},
)
async def expense(ctx: CodeContext, claim: dict[str, Any]) -> Any:
    """claim: `{expense_id, employee, manager, amount, answer_within?}`."""
    await ctx.step("hold_budget", hold_budget, compensate=release_budget, undo_retry=_STUBBORN)
    await ctx.step("ask_manager", ask_manager, compensate=withdraw_question, undo_retry=_STUBBORN)
    decision = await ctx.signal("decided", step="decision", timeout=claim.get("answer_within", ANSWER_WITHIN))
    if not decision["approved"]:
        raise PermanentError(f"{decision['by']} rejected it: {decision['reason']}")
    return await ctx.step("pay", pay)


async def hold_budget(ctx: StepContext) -> Any:
    return await _office(ctx, "/budget/hold", {"expense_id": "{expense_id}", "amount": "{amount}"})


async def release_budget(ctx: StepContext) -> Any:
    return await _office(ctx, "/budget/release", {"expense_id": "{expense_id}"})


async def ask_manager(ctx: StepContext) -> Any:
    """The office shows the question to the manager, and signals the saga what was decided."""
    question = {name: f"{{{name}}}" for name in ("expense_id", "employee", "manager", "amount")}
    return await _office(ctx, "/inbox", {**question, "saga_id": ctx.saga_id})


async def withdraw_question(ctx: StepContext) -> Any:
    return await _office(ctx, "/inbox/withdraw", {"expense_id": "{expense_id}"})


async def pay(ctx: StepContext) -> Any:
    return await _office(ctx, "/payments", {"expense_id": "{expense_id}", "amount": "{amount}"})


async def _office(ctx: StepContext, path: str, body: dict[str, Any]) -> Any:
    url = os.environ.get("OFFICE_URL", "http://127.0.0.1:8092")
    return (await http_request("POST", url + path, json=body).ask(ctx)).json
