"""A page's Python blocks as the one module that a reader makes of them."""

import asyncio
import inspect
import sys
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import CodeType, ModuleType

from tests.docs.blocks import ROOT, Block
from tests.docs.not_run import CODE

MODULE = "page"


def given(page: str) -> ModuleType | None:
    """What a page takes for granted stands in `tests/docs/given`, under the page's own name: the functions of a shop,
    say, that its sagas call. Its function `promised`, where it has one, is called with the page's module at the end.
    What it has for the page's commands: world.py."""
    path = page.removeprefix("docs/").removesuffix(".md").replace("-", "_").replace("/", ".")
    name = f"tests.docs.given.{path}"
    try:
        there = find_spec(name)
    except ModuleNotFoundError:  # nor a folder of that name
        there = None
    return import_module(name) if there else None


def run_page(blocks: list[Block], replaced: Mapping[str, str] | None = None) -> None:
    """In order. What a block defines as `test_…` is called at once, as pytest would. replaced: text of the page by
    what stands for it here."""
    provided = given(blocks[0].page)
    with _module() as module, asyncio.Runner() as runner:
        if provided:
            module.__dict__.update({name: value for name, value in vars(provided).items() if name[0] != "_"})
        for block in blocks:
            before = set(vars(module))
            code = _compiled(block, replaced or {})
            if not why_not(block):
                _execute(code, module, runner)
            for name in [name for name in vars(module) if name.startswith("test_") and name not in before]:
                _call(vars(module)[name], runner)
        if provided and hasattr(provided, "promised"):
            _call(provided.promised, runner, module)


def why_not(block: Block) -> str | None:
    """Why it is not run; None: it is."""
    reasons = CODE.get(block.page, {})
    return next((why for line, why in reasons.items() if line in block.text.splitlines()), None)


def _compiled(block: Block, replaced: Mapping[str, str]) -> CodeType:
    """Its lines are numbered as in the page, so that a traceback shows where it broke."""
    text = block.text
    for shown, real in replaced.items():
        text = text.replace(shown, real)
    source = "\n" * (block.line - 1) + text
    flags = PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(source, str(ROOT / block.page), "exec", flags=flags, dont_inherit=True)
    return code


def _execute(code: CodeType, module: ModuleType, runner: asyncio.Runner) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(eval(code, vars(module)))  # noqa: S307  # our own page
    else:
        exec(code, vars(module))  # noqa: S102  # our own page


def _call(function: object, runner: asyncio.Runner, *arguments: object) -> None:
    assert callable(function)
    answer = function(*arguments)
    if inspect.iscoroutine(answer):
        runner.run(answer)


@contextmanager
def _module() -> Iterator[ModuleType]:
    """One that can be found by its name, as annotations are looked up there."""
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module
    try:
        yield module
    finally:
        del sys.modules[MODULE]
