"""What `sagahook examples run approvals` plays."""

from __future__ import annotations

import time
from typing import Any

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is, webhook_sent
from sagahook_schemas.steps import StepAwaiting

SHORT = 1.0
"""Seconds that somebody has to answer who is not there."""


def _stage(place: Place) -> Stage:
    office = Server(
        "office",
        "sagahook_approvals.office",
        ("--port", str(place.port("office"))),
        ready="/books",
        after_stack=True,  # it signals sagas, so it is told where and with which key
    )
    return Stage("sagahook_approvals.app", (office,), {"OFFICE_URL": place.url("office")})


async def manager_approves(world: World, narrator: Narrator) -> None:
    posted = await _submitted(world, narrator, "E-1", 120)

    async def approve(event: Any) -> None:
        if isinstance(event.data, StepAwaiting):
            await world.send("POST", _office(world, "/inbox/E-1/decision"), {"approved": True})
            narrator.happened(time.time() - posted.at, "plain", "grace approves it in the office's inbox")

    await follow(world, narrator, posted, meanwhile=approve)
    await status_is(world, narrator, posted, "completed")
    await _books_show(world, narrator, "the expense is paid, nothing is held", paid={"E-1": 120}, held={})


async def manager_rejects(world: World, narrator: Narrator) -> None:
    posted = await _submitted(world, narrator, "E-2", 300)

    async def reject(event: Any) -> None:
        if isinstance(event.data, StepAwaiting):
            decision = {"approved": False, "by": "grace", "reason": "no receipt"}
            where = f"/api/v1/sagas/{event.envelope.saga_id}:signal/decided"
            await world.send("POST", where, {"actor": "grace", "payload": decision}, role="operator")

    await follow(world, narrator, posted, meanwhile=reject)
    await status_is(world, narrator, posted, "failed", error="grace rejected it: no receipt")
    await _books_show(world, narrator, "the budget is released, the question withdrawn", held={}, inbox=[])


async def nobody_answers(world: World, narrator: Narrator) -> None:
    posted = await _submitted(world, narrator, "E-3", 80, answer_within=SHORT)
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "failed", error="decided")
    await _books_show(world, narrator, "the budget is released, the question withdrawn", held={}, inbox=[])


async def _submitted(world: World, narrator: Narrator, expense_id: str, amount: int, **more: float) -> Posted:
    claim = {"expense_id": expense_id, "employee": "ada", "manager": "grace", "amount": amount, **more}
    what = f"ada claims {amount} for {expense_id}" + ("; the answer must come soon" if more else "")
    return await webhook_sent(world, narrator, "expense_submitted", claim, what)


async def _books_show(world: World, narrator: Narrator, what: str, **expected: object) -> None:
    books = await world.get(_office(world, "/books"))
    shown = {name: books[name] for name in expected}
    expect(shown == expected, f"the office's books show {expected}, not {shown}")
    narrator.seen(what)


def _office(world: World, path: str) -> str:
    return world.url("office") + path


EXAMPLE = Example(
    "An expense's budget is held and its manager asked; it is paid when that person says yes in time, else undone.",
    _stage,
    scenes=(
        Scene("The manager approves: the expense is paid", manager_approves),
        Scene("The manager rejects: what was held is released", manager_rejects),
        Scene("Nobody answers in time: the same", nobody_answers),
    ),
    poke="""\
curl -X POST {api}/webhooks/expense_submitted -H 'Content-Type: application/json' \\
     -d '{{"expense_id": "E-9", "employee": "you", "manager": "grace", "amount": 50}}'
curl {office}/books
curl -X POST {office}/inbox/E-9/decision -H 'Content-Type: application/json' -d '{{"approved": true}}'
sagahook sagas list --url {api} --key {reader}""",
)
