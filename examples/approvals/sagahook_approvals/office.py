"""The office: a budget, an inbox of questions, a till. `python -m sagahook_approvals.office --port 8092`

Whoever decides does so here, and the office tells the saga: `SAGAHOOK_URL` and `SAGAHOOK_KEY` say where, and as whom.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from sagahook.client import AsyncClient, Conflict

BUDGET = 1_000.0


class Asked(BaseModel):
    """What a step asks for; each route reads what it needs."""

    expense_id: str
    amount: float = 0
    employee: str = ""
    manager: str = ""
    saga_id: str = ""


class Decision(BaseModel):
    approved: bool
    reason: str = ""


class Books:
    """What was done, by the key of the request: the same request again is given the same answer and does nothing.

    An action whose undoing came first is refused.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.held: dict[str, float] = {}
        self.paid: dict[str, float] = {}
        self.inbox: dict[str, Asked] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._undone: set[str] = set()

    @property
    def left(self) -> float:
        return self.budget - sum(self.held.values()) - sum(self.paid.values())

    def once(self, key: str, undoes: str | None, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if undoes is not None:
            self._undone.add(undoes)
        if key in self._undone:
            raise HTTPException(409, "this was undone before it arrived")
        if key not in self._answers:
            self._answers[key] = act()
        return self._answers[key]

    def hold(self, asked: Asked) -> dict[str, Any]:
        if asked.amount > self.left:
            raise HTTPException(402, f"{asked.amount:g} is more than the {self.left:g} that are left")
        self.held[asked.expense_id] = asked.amount
        return {"held": asked.amount}

    def release(self, asked: Asked) -> dict[str, Any]:
        return {"released": self.held.pop(asked.expense_id, 0)}

    def pay(self, asked: Asked) -> dict[str, Any]:
        self.paid[asked.expense_id] = self.held.pop(asked.expense_id, asked.amount)
        return {"paid": asked.amount}

    def ask(self, asked: Asked) -> dict[str, Any]:
        self.inbox[asked.expense_id] = asked
        return {"asked": asked.manager}

    def withdraw(self, asked: Asked) -> dict[str, Any]:
        return {"withdrawn": self.inbox.pop(asked.expense_id, None) is not None}


def build_office(books: Books) -> FastAPI:
    office = FastAPI(title="An office")
    acts: dict[str, Callable[[Asked], dict[str, Any]]] = {
        "/budget/hold": books.hold,
        "/budget/release": books.release,
        "/inbox": books.ask,
        "/inbox/withdraw": books.withdraw,
        "/payments": books.pay,
    }

    def serve(path: str, act: Callable[[Asked], dict[str, Any]]) -> None:
        @office.post(path)
        async def asked_for(
            asked: Asked,
            idempotency_key: Annotated[str, Header()],
            x_compensates: Annotated[str | None, Header()] = None,
        ) -> dict[str, Any]:
            return books.once(idempotency_key, x_compensates, lambda: act(asked))

    for path, act in acts.items():
        serve(path, act)

    @office.get("/books")
    async def show() -> dict[str, Any]:
        return {"left": books.left, "held": books.held, "paid": books.paid, "inbox": list(books.inbox)}

    @office.post("/inbox/{expense_id}/decision")
    async def decide(expense_id: str, decision: Decision) -> dict[str, str]:
        """What the manager's click does. The signal's id makes a second click the same decision."""
        asked = books.inbox.get(expense_id)
        if asked is None:
            raise HTTPException(404, f"nobody is asked about the expense {expense_id}")
        async with AsyncClient(os.environ["SAGAHOOK_URL"], key=os.environ["SAGAHOOK_KEY"]) as client:
            try:
                await client.signal_saga(
                    asked.saga_id,
                    "decided",
                    actor=asked.manager,
                    signal_id=f"decision-{expense_id}",
                    payload={**decision.model_dump(), "by": asked.manager},
                )
            except Conflict as late:
                raise HTTPException(409, f"it is too late to decide: {late}") from late
        del books.inbox[expense_id]
        return {"expense_id": expense_id, "decided": "approved" if decision.approved else "rejected"}

    return office


def main() -> None:
    parser = argparse.ArgumentParser(description="A budget, an inbox, a till")
    parser.add_argument("--port", type=int, default=8092)
    parser.add_argument("--budget", type=float, default=BUDGET)
    options = parser.parse_args()
    office = build_office(Books(options.budget))
    uvicorn.run(office, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
