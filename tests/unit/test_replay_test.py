"""`sagahook replay-test`: recorded histories under sagas that have changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook.saga import PermanentError, load_app
from sagahook.testing import Divergence, HistoryError, Run, SagaTest, divergence, read_histories

HEAD = "from sagahook.saga import *\nimport asyncio\n"

ORDER = """
class Order(Saga):
    @step
    async def reserve(self, ctx): ...

    @compensate("reserve")
    async def release(self, ctx, result): ...

    @step
    async def charge(self, ctx): ...

    approval = await_signal("approved", timeout=60)
"""

FUNCTION = """
@saga()
async def order(ctx, event):
    a, b = await asyncio.gather(ctx.step("reserve", lambda: 1), ctx.step("label", lambda: 2))
    await ctx.sleep("night", 60)
    return await ctx.step("charge", lambda: a + b)
"""

Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Writes a module of that text; its path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(text: str) -> str:
        number = len(list(tmp_path.glob("replayed_app_*.py")))
        file = tmp_path / f"replayed_app_{number}.py"
        file.write_text(HEAD + text)
        return str(file)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def run_of(path: str, **faults: BaseException) -> Run:
    """A run of the module's saga `order`."""
    world = SagaTest(load_app(path))
    for step, error in faults.items():
        world.fail(step, error)
    return await world.start("order")


async def replayed(module: Module, before: str, after: str, **faults: BaseException) -> Divergence | None:
    run = await run_of(module(before), **faults)
    return await divergence(load_app(module(after)), run.events)


# Classes


async def test_what_did_not_change_replays(module: Module) -> None:
    assert await replayed(module, ORDER, ORDER) is None


async def test_new_code_and_new_terms_replay(module: Module) -> None:
    changed = ORDER.replace("@step\n", "@step(timeout=5, retry=Retry(max=9))\n")
    assert await replayed(module, ORDER, changed) is None
    assert await replayed(module, ORDER, changed, charge=PermanentError("declined")) is None


async def test_a_step_that_is_added_at_the_end_replays(module: Module) -> None:
    assert await replayed(module, ORDER, ORDER + "    cool_off = sleep(seconds=5)\n") is None


async def test_a_step_that_is_gone_diverges(module: Module) -> None:
    found = await replayed(module, ORDER, ORDER.replace("def charge", "def bill"))
    assert found is not None
    assert (found.sequence, found.step) == (4, "charge")
    assert found.what == "the run began the step charge, which there is no more"
    assert found.do == "keep the steps that its runs began with, or give the new ones version 2"


async def test_a_step_that_is_put_before_others_diverges(module: Module) -> None:
    inserted = ORDER.replace(
        "    @step\n    async def charge", "    check = sleep(seconds=1)\n\n    @step\n    async def charge"
    )
    found = await replayed(module, ORDER, inserted)
    assert found is not None
    assert found.what == "the run began the step charge before check, which now has to be done first"


async def test_a_compensation_that_is_gone_diverges_where_it_was_needed(module: Module) -> None:
    without = ORDER.replace('    @compensate("reserve")\n    async def release(self, ctx, result): ...\n', "")
    assert await replayed(module, ORDER, without) is None
    found = await replayed(module, ORDER, without, charge=PermanentError("declined"))
    assert found is not None
    assert (found.step, found.what) == (
        "reserve",
        "the run has to undo the step reserve, which has no compensation any more",
    )


async def test_a_version_that_is_not_there_diverges_at_once(module: Module) -> None:
    found = await replayed(module, ORDER, ORDER.replace("(Saga):", "(Saga):\n    version = 2"))
    assert found is not None
    assert (found.sequence, found.what) == (1, "order version 1 is not there")


# Functions


async def test_a_function_that_did_not_change_replays(module: Module) -> None:
    assert await replayed(module, FUNCTION, FUNCTION) is None
    assert await replayed(module, FUNCTION, FUNCTION, charge=PermanentError("declined")) is None
    plain = "@saga()\ndef order(ctx, event):\n    ctx.step('a', lambda: 1)\n    ctx.signal('go')\n"
    assert await replayed(module, plain, plain) is None


async def test_a_function_that_asks_for_another_step_diverges(module: Module) -> None:
    found = await replayed(module, FUNCTION, FUNCTION.replace('"charge"', '"bill"'))
    assert found is not None
    assert found.step == "charge"
    assert "the log remembers charge, the function asks for bill" in found.what
    assert found.do == "keep the order of its requests, or give the new function version 2"


async def test_a_function_that_asks_for_less_or_more_diverges(module: Module) -> None:
    less = await replayed(
        module, FUNCTION, FUNCTION.replace('return await ctx.step("charge", lambda: a + b)', "return 3")
    )
    assert less is not None
    assert (less.step, less.what) == ("charge", "the log remembers charge, and the function ends")
    more = FUNCTION.replace("return await", "await") + '    await ctx.step("thank", lambda: 1)\n'
    found = await replayed(module, FUNCTION, more)
    assert found is not None
    assert found.what == "the run was completed, and the function asks for thank"


async def test_a_function_that_now_raises_diverges(module: Module) -> None:
    found = await replayed(
        module, FUNCTION, FUNCTION.replace("    await ctx.sleep", "    event['x']\n    await ctx.sleep")
    )
    assert found is not None
    assert found.what == "the log remembers night (sleep), and the function ends with KeyError: 'x'"


async def test_what_a_class_began_no_function_can_go_on_with(module: Module) -> None:
    found = await replayed(module, ORDER, FUNCTION)
    assert found is not None
    assert found.what == "the run began reserve as a step of a class, and the saga is a function now"


# Files, and the command


async def test_a_history_is_read_as_it_was_saved(module: Module, tmp_path: Path) -> None:
    run = await run_of(module(ORDER))
    file = tmp_path / "histories" / "order.jsonl"
    run.save(file)
    (found,) = read_histories(file)
    assert found.events == run.events


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no event"),
        ("{}", "line 1 must be a JSON object with type, data"),
        ("nonsense", "line 1 must be"),
        (
            '{"type":"x","data":{},"time":"2030-01-01T00:00:00Z","saga_id":"s","run":1,"sequence":1}',
            "no contract is known",
        ),
        (
            '{"type":"sagahook.saga.released.v1","data":{},"time":"2030-01-01T00:00:00Z","saga_id":"s","run":1,"sequence":2}',
            "every event from the first on",
        ),
        (
            '{"type":"sagahook.saga.released.v1","data":{},"time":"2030-01-01T00:00:00Z","saga_id":"s","run":1,"sequence":1}',
            "not with saga.started",
        ),
    ],
)
def test_what_is_no_history_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "history"
    file.write_text(text)
    with pytest.raises(HistoryError, match=why):
        list(read_histories(file))


def replay_test(path: str, folder: Path) -> Result:
    return CliRunner().invoke(app, ["replay-test", path, str(folder)])


def record(path: str, folder: Path, *names: str) -> None:
    for name in names:
        asyncio.run(run_of(path)).save(folder / name)


def test_the_command_prints_a_line_a_history(module: Module, tmp_path: Path) -> None:
    before, folder = module(ORDER), tmp_path / "histories"
    record(before, folder, "one.jsonl", "deeper/two.jsonl")
    told = replay_test(before, folder)
    assert told.exit_code == 0
    first, second = told.stdout.splitlines()
    assert first.startswith("ok        deeper/two.jsonl  order@1 ")
    assert first.endswith(" run 1, 6 events")
    assert second.startswith("ok        one.jsonl  order@1 ")


def test_the_command_fails_where_one_diverges_and_says_what_to_do(module: Module, tmp_path: Path) -> None:
    folder = tmp_path / "histories"
    record(module(ORDER), folder, "one.jsonl")
    (folder / "broken.jsonl").write_text("{}")
    told = replay_test(module(ORDER.replace("def charge", "def bill")), folder)
    assert told.exit_code == 1
    assert "DIVERGES  one.jsonl  order@1" in told.stdout
    assert (
        "at event 4, step charge: the run began the step charge, which there is no more: keep" in told.stdout
    )
    assert "DIVERGES  broken.jsonl\n          broken.jsonl, line 1 must be" in told.stdout
    assert "2 of 2 histories do not replay" in told.stderr


def test_a_folder_without_histories_is_a_mistake(module: Module, tmp_path: Path) -> None:
    told = replay_test(module(ORDER), tmp_path / "nothing")
    assert told.exit_code == 1
    assert "holds no histories: record some with `sagahook history SAGA_ID > FILE`" in told.stderr


def test_a_module_that_is_no_app_is_told_of(tmp_path: Path) -> None:
    told = replay_test("no_such_module_at_all", tmp_path)
    assert told.exit_code == 1
    assert "there is no module no_such_module_at_all" in told.stderr
