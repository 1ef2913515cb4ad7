"""The four scenes of `sagahook demo`, and of `sagahook examples run orders`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.saga_log import LogEvent
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is, webhook_sent
from sagahook_schemas.steps import StepAttemptLost, StepScheduled

CHARGE_LIMIT = 1_000
_STALL_SECONDS = 3.0
_SESSION_SECONDS = "2.5"
"""After so long a killed runner's partitions go to the next one: less than usual, to keep the story short."""


def _stage(place: Place) -> Stage:
    endpoint = {"id": "demo", "url": f"{place.url('receiver')}/hooks", "secret": place.secret}
    shop = ("--port", str(place.port("shop")), "--db", str(place.folder / "shop.db"))
    return Stage(
        app="sagahook_orders.app",
        servers=(
            Server("shop", "sagahook_orders.shop", (*shop, "--limit", str(CHARGE_LIMIT)), ready="/ledger"),
            Server(
                "receiver",
                "sagahook_orders.receiver",
                ("--port", str(place.port("receiver"))),
                env={"RECEIVER_SECRET": place.secret},
                ready="/received",
            ),
        ),
        settings={
            "SHOP_URL": place.url("shop"),
            "SAGAHOOK_ENDPOINTS": json.dumps([endpoint]),
            "SAGAHOOK_SESSION_TIMEOUT": _SESSION_SECONDS,
        },
    )


async def order_completes(world: World, narrator: Narrator) -> None:
    posted = await _ordered(world, narrator, _order(1, amount=42))
    await follow(world, narrator, posted)
    saga_id = await status_is(world, narrator, posted, "completed")
    await _webhook_arrives(world, narrator, posted, saga_id, "task_completed")
    await _effects_are(world, narrator, posted, "inventory/reserve", "payments/charge", "shipping/ship")


async def order_is_declined(world: World, narrator: Narrator) -> None:
    posted = await _ordered(world, narrator, _order(2, amount=5 * CHARGE_LIMIT))
    await follow(world, narrator, posted)
    saga_id = await status_is(world, narrator, posted, "failed", error="declined")
    webhook = await _webhook_arrives(world, narrator, posted, saga_id, "task_failed")
    expect("declined" in webhook["event"]["data"].get("error", ""), "the webhook says why it was declined")
    saga = await world.saga(saga_id)
    expect(saga["state"] == "ROLLED_BACK", f"the saga's state is ROLLED_BACK, not {saga['state']}")
    await _effects_are(world, narrator, posted, "inventory/reserve", "inventory/release")


async def duplicate_joins(world: World, narrator: Narrator) -> None:
    order = _order(3, amount=7)
    first = await _ordered(world, narrator, order)
    await follow(world, narrator, first)
    saga_id = await status_is(world, narrator, first, "completed")
    before = await _ledger(world, first)
    second = await _ordered(world, narrator, order)
    expect(second.correlation_id != first.correlation_id, "the duplicate has a correlation id of its own")
    await follow(world, narrator, second)
    joined = await status_is(world, narrator, second, "completed")
    expect(joined == saga_id, f"both webhooks show the saga {saga_id}, and the second shows {joined}")
    narrator.seen(f"both webhooks show the same saga, {saga_id}")
    expect(await _ledger(world, first) == before, "the shop was asked nothing for the duplicate")
    narrator.seen("the shop was not asked again")


async def runner_is_killed(world: World, narrator: Narrator) -> None:
    await _stall_shop(world, "/shipping/ship", _STALL_SECONDS)
    posted = await _ordered(world, narrator, _order(4, amount=99))

    async def kill(event: LogEvent) -> None:
        if isinstance(event.data, StepScheduled) and (event.data.step, event.data.attempt) == ("ship", 1):
            await world.until(f"{world.url('shop')}/control", lambda waiting: waiting.get("/shipping/ship"))
            pid: int = world.stack.description()["pids"]["saga-runner"][0]
            os.kill(pid, signal.SIGKILL)
            told = f"saga-runner (pid {pid}) killed with SIGKILL while ship is running"
            narrator.happened(_since(posted), "violent", told)
            await _stall_shop(world, "/shipping/ship", 0)

    events = await follow(world, narrator, posted, meanwhile=kill)
    lost = any(isinstance(event.data, StepAttemptLost) for event in events)
    expect(lost, "the new runner finds in the log that an attempt was lost")
    await status_is(world, narrator, posted, "completed")
    asked = await _asked_again(world, posted, "shipping/ship")
    await _effects_are(world, narrator, posted, "inventory/reserve", "payments/charge", "shipping/ship")
    narrator.seen(f"the shop was asked {asked} times to ship, under one key, and did it once")


def _order(number: int, amount: int) -> dict[str, Any]:
    return {"order_id": f"A-{number}", "user_id": "ada", "amount": amount, "items": ["pen", "paper"]}


async def _ordered(world: World, narrator: Narrator, order: dict[str, Any]) -> Posted:
    what = f"order {order['order_id']}, amount {order['amount']}"
    return await webhook_sent(world, narrator, "order_created", order, what)


async def _ledger(world: World, posted: Posted) -> list[dict[str, Any]]:
    """What the shop was asked for the order: `{operation, applied, requests, status, …}` by key."""
    entries = (await world.get(f"{world.url('shop')}/ledger"))["entries"]
    return [entry for entry in entries if entry["order_id"] == posted.body["order_id"]]


async def _stall_shop(world: World, path: str, seconds: float) -> None:
    """From now on a request to the path waits so long in the shop before it is handled."""
    await world.send("POST", f"{world.url('shop')}/control", {"path": path, "stall": seconds})


async def _asked_again(world: World, posted: Posted, operation: str) -> int:
    """How often the shop was asked, once the request of the killed runner has come through too."""
    while True:
        for entry in await _ledger(world, posted):
            if entry["operation"] == operation and entry["requests"] >= 2:
                requests: int = entry["requests"]
                return requests
        await asyncio.sleep(0.05)


async def _webhook_arrives(
    world: World, narrator: Narrator, posted: Posted, saga_id: str, event_type: str
) -> dict[str, Any]:
    """The outbound webhook of that type about the saga, as the receiver got it."""

    def about_it(webhook: dict[str, Any]) -> bool:
        event = webhook.get("event", {})
        return event.get("type") == event_type and bool(event["data"]["task_id"] == saga_id)

    received = await world.until(
        f"{world.url('receiver')}/received", lambda all_of: any(map(about_it, all_of))
    )
    webhook: dict[str, Any] = next(filter(about_it, received))
    narrator.happened(_since(posted), "good", f"outbound webhook {event_type} arrived")
    expect(webhook["verified"] is True, f"the webhook {event_type} is verified")
    narrator.seen(f"{event_type} arrived; the receiver verified its signature ({webhook['webhook_id']})")
    return webhook


async def _effects_are(world: World, narrator: Narrator, posted: Posted, *operations: str) -> None:
    """The shop did these, each exactly once, and nothing else."""
    effects = [entry["operation"] for entry in await _ledger(world, posted) for _ in range(entry["applied"])]
    expect(
        sorted(effects) == sorted(operations),
        f"the shop did {', '.join(operations)}, not {', '.join(effects)}",
    )
    narrator.seen(f"the shop's ledger has each effect once: {', '.join(effects)}")


def _since(posted: Posted) -> float:
    return time.time() - posted.at


EXAMPLE = Example(
    "An order reserves inventory, charges the payment and ships; what fails is undone.",
    _stage,
    scenes=(
        Scene("An order completes, and its outbound webhook arrives signed", order_completes),
        Scene("A declined order is undone, and reported with its error", order_is_declined),
        Scene("A duplicate joins the first: the same saga, not run again", duplicate_joins),
        Scene("The runner is killed in the middle, and the saga completes all the same", runner_is_killed),
    ),
    poke="""\
curl -X POST {api}/webhooks/order_created -H 'Content-Type: application/json' \\
     -d '{{"order_id": "B1", "user_id": "you", "amount": 42, "items": ["pen"]}}'
curl {shop}/ledger
curl {receiver}/received
curl -X POST {shop}/control -H 'Content-Type: application/json' -d '{{"path": "/payments/charge", "fail": 2}}'""",
)
