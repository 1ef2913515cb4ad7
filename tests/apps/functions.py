"""Sagas that are functions. Each has a source of its own name; `hold` waits until the test lets it go."""

import asyncio
import os
from pathlib import Path
from typing import Any

from sagahook.saga import CodeContext, DistributedSaga, PermanentError, Retry, SagaAborted, StepContext, saga
from tests.apps.notes import note, work

_RETRY = Retry(max=2, initial=0.05, jitter=0)
_WAIT = float(os.environ.get("WAIT_SECONDS", "4"))
_SWAPPED = os.environ.get("SWAPPED") == "1"


def _file(name: str) -> Path:
    return Path(f"{os.environ['EFFECTS_FILE']}.{name}")


def act(ctx: StepContext) -> str:
    note(ctx, "done")
    return ctx.step


async def hold(ctx: StepContext) -> str:
    note(ctx, "began")
    while not _file("go").exists():
        await asyncio.sleep(0.02)
    return act(ctx)


def undo(ctx: StepContext, result: Any) -> None:
    note(ctx, f"undid:{result}")


async def held_undo(ctx: StepContext, result: Any) -> None:
    await hold(ctx)
    undo(ctx, result)


def refuse(ctx: StepContext) -> str:
    if not _file("mended").exists():
        raise PermanentError("told to fail")
    return act(ctx)


@saga(source="straight", idempotency_key="id")
async def straight(ctx: CodeContext, event: dict[str, Any]) -> list[str]:
    names = ("two", "one") if _SWAPPED else ("one", "two")
    done = [await ctx.step(name, act, compensate=undo, retry=_RETRY) for name in names]
    return [*done, await ctx.step("held", hold, retry=_RETRY)]


@saga(source="plain", idempotency_key="id")
def plain(ctx: CodeContext, event: dict[str, Any]) -> list[str]:
    return [ctx.step("one", act), ctx.step("held", hold, retry=_RETRY), ctx.step("three", act)]


@saga(source="branches", idempotency_key="id")
async def branches(ctx: CodeContext, event: dict[str, Any]) -> list[Any]:
    async def branch(name: str) -> list[str]:
        return [await ctx.step(f"{name}{n}", hold if n == 2 else act, retry=_RETRY) for n in range(1, 4)]

    return list(await asyncio.gather(*(branch(name) for name in "abc")))


@saga(source="waits", idempotency_key="id")
async def waits(ctx: CodeContext, event: dict[str, Any]) -> Any:
    await ctx.step("one", act)
    _, approval = await asyncio.gather(ctx.sleep("nap", _WAIT), ctx.signal("approved", timeout=600))
    await ctx.step("last", act)
    return approval


@saga(source="fails", idempotency_key="id")
async def fails(ctx: CodeContext, event: dict[str, Any]) -> None:
    await ctx.step("one", act, compensate=undo)
    await asyncio.gather(
        ctx.step("two", act, compensate=undo), ctx.step("three", act, compensate=held_undo, undo_retry=_RETRY)
    )
    await ctx.step("four", refuse, compensate=undo)


@saga(source="raises", idempotency_key="id")
async def raises(ctx: CodeContext, event: dict[str, Any]) -> None:
    reserved = await ctx.step("one", act, compensate=lambda result: note(_own(ctx), f"undid:{result}"))
    raise ValueError(f"no stock after {reserved}")


def _own(ctx: CodeContext) -> Any:
    """Enough of a StepContext for a note."""

    class Own:
        idempotency_key, attempt = f"{ctx.saga_id}/{ctx.run}/one/compensation", 1

    return Own


@saga(source="patience", idempotency_key="id", deadline=2)
async def patience(ctx: CodeContext, event: dict[str, Any]) -> None:
    await ctx.step("one", act, compensate=undo)
    await ctx.signal("never")


async def _reserve(name: str) -> str:
    return f"reserved {name}"


@saga(source="imperative", idempotency_key="id")
async def imperative(ctx: CodeContext, event: dict[str, Any]) -> dict[str, Any]:
    order = DistributedSaga(event["id"], "anna")
    await order.execute_step("reserve", lambda: _reserve("stock"), undo, retry=_RETRY)
    await order.execute_step("held", hold, retry=_RETRY)
    try:
        await order.execute_step("charge", refuse, undo)
    except SagaAborted:
        _file("aborted").write_text(str(order.get_status()["state"]))
        raise
    await order.commit()
    return order.get_status()


@saga(source="imperative-plain", idempotency_key="id")
def imperative_plain(ctx: CodeContext, event: dict[str, Any]) -> dict[str, Any]:
    with DistributedSaga(event["id"], "anna") as order:
        order.execute_step("reserve", act, undo, retry=_RETRY)
        order.execute_step("held", hold, retry=_RETRY)
        order.execute_step("charge", refuse, undo)
    return order.get_status()


@saga()
async def parcel(ctx: CodeContext, event: dict[str, Any]) -> str:
    return str(await ctx.step("pack", act, compensate=undo)) + f" {event['size']}"


@saga(source="family", idempotency_key="id")
async def family(ctx: CodeContext, event: dict[str, Any]) -> Any:
    packed = await ctx.child("parcel", parcel, {"size": event["size"]})
    await ctx.step("held", hold, retry=_RETRY)
    await ctx.step("charge", refuse)
    return packed


@saga(source="busy", idempotency_key="id")
async def busy(ctx: CodeContext, event: dict[str, Any]) -> list[Any]:
    """`fail`: its last step is refused. Each action takes `STEP_SECONDS`."""

    async def branch(name: str) -> list[str]:
        first = await ctx.step(f"{name}1", worked, compensate=undo, retry=_RETRY)
        await ctx.sleep(f"{name} nap", 0.2)
        return [first, await ctx.step(f"{name}2", worked, compensate=undo, retry=_RETRY)]

    done = list(await asyncio.gather(branch("a"), branch("b")))
    if event["fail"]:
        await ctx.step("last", refuse)
    return done


async def worked(ctx: StepContext) -> str:
    await work(ctx)
    return ctx.step
