"""The reference of what users import, made from the code: signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

PAGES = {
    "saga": ("sagahook.saga",),
    "testing": ("sagahook.testing",),
    "client": ("sagahook.client",),
    "integrations": (
        "sagahook.integrations",
        "sagahook.integrations.fastapi",
        "sagahook.integrations.flask",
        "sagahook.integrations.django.middleware",
        "sagahook.integrations.blocking",
    ),
}
"""The page's name, and the modules on it."""

_HEAD = """\
# API: {module}

{about}

`make schemas` makes this page from the code.
"""


def api_references() -> dict[str, str]:
    """Markdown by the page's name."""
    return {page: _page(modules) for page, modules in PAGES.items()}


def _page(names: tuple[str, ...]) -> str:
    modules = [import_module(name) for name in names]
    about = (inspect.getdoc(modules[0]) or "").partition("\n\n")[0]
    parts = [_HEAD.format(module=names[0], about=about)]
    for module in modules:
        for name in sorted(public(module), key=str.lower):
            value = getattr(module, name)
            if _is_shown(value):
                parts.append(_entry(module.__name__, name, value))
    return "".join(parts)


def public(module: ModuleType) -> list[str]:
    """What it has in `__all__`, else the classes and functions that it makes."""
    listed: list[str] | None = getattr(module, "__all__", None)
    if listed is not None:
        return listed
    made = {name: each for name, each in vars(module).items() if not name.startswith("_")}
    return [name for name, each in made.items() if _is_shown(each) and each.__module__ == module.__name__]


def _is_shown(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _entry(module: str, name: str, value: Any) -> str:
    kind = "class" if inspect.isclass(value) else _kind(value)
    head = f"from {module} import {name}\n\n{kind} {name}{_signature(value)}"
    text = f"\n## {name}\n\n```text\n{head}\n```\n\n{_about(value)}\n"
    if inspect.isclass(value):
        text += "".join(_member(name, member, each) for member, each in _members(value))
    return text


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """What the class and those of ours that it builds on show, and say something about. What both clients can ask is
    told of the one that waits."""
    from sagahook.client.calls import Operation
    from sagahook.client.listing import Listing

    ours = [each for each in cls.__mro__ if each.__module__.startswith("sagahook")]
    names = dict.fromkeys(name for each in ours for name in each.__dict__ if not name.startswith("_"))
    for name in names:
        value = inspect.getattr_static(cls, name)
        if isinstance(value, Operation | Listing):
            if "awaited" not in cls.__dict__:
                yield name, value.make
        elif isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value):
            yield name, value


def _member(owner: str, name: str, value: Any) -> str:
    if isinstance(value, property):
        return f"\n### {owner}.{name}\n\n{_about(value.fget)}\n"
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    head = f"{_kind(function)} {name}{_signature(function)}"
    return f"\n### {owner}.{name}\n\n```text\n{head}\n```\n\n{_about(function)}\n"


def _kind(function: Any) -> str:
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def _about(value: Any) -> str:
    """Its own docstring, and nothing that Python gives a class for want of one."""
    said = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    said = inspect.cleandoc(said or "")
    return "" if said.startswith(f"{getattr(value, '__name__', '')}(") else said


class _AsWritten:
    """An annotation as it stands in the code, without quotes around it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(value: Any) -> str:
    """Without `self`; nothing where there is none to be had."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [
        each.replace(annotation=_written(each.annotation), default=_default(each.default))
        for name, each in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    returned = signature.return_annotation if not inspect.isclass(value) else signature.empty
    shown = signature.replace(parameters=parameters, return_annotation=_answered(returned))
    text = str(shown)
    return text if len(text) < 90 else _broken(text, parameters, shown)


def _written(annotation: Any) -> Any:
    return _AsWritten(annotation) if isinstance(annotation, str) else annotation


def _answered(annotation: Any) -> Any:
    """Of an operation of the client, which makes a call, what that call is answered."""
    if isinstance(annotation, str) and annotation.startswith("Call["):
        annotation = annotation.removeprefix("Call[").removesuffix("]")
    return _written(annotation)


def _default(value: Any) -> Any:
    """A function's own text has its address in it."""
    return _AsWritten(value.__name__) if inspect.isfunction(value) else value


def _broken(text: str, parameters: list[inspect.Parameter], shown: inspect.Signature) -> str:
    """A line for each parameter."""
    lines: list[str] = []
    keyword = False
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not keyword:
            lines.append("    *,")
        keyword = keyword or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        lines.append(f"    {each},")
    result = text[text.rindex(") ->") :] if ") ->" in text else ")"
    return "\n".join(("(", *lines, result))
