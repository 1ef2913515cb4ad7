"""The reference of every command, made from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

_HEAD = """\
# The command line

`sagahook` and its commands; `--help` says the same. `make schemas` makes this page from them.
"""


def command_reference() -> str:
    """Markdown: a section for each command, in the order of their names."""
    import typer

    from sagahook.cli.main import app

    return _HEAD + "".join(_sections(typer.main.get_command(app), ("sagahook",)))


def _sections(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    """Of the command, and of those under it."""
    below = getattr(command, "commands", {})
    if len(words) > 1 and (not below or command.invoke_without_command):
        yield _section(command, words)
    elif len(words) > 1:
        yield f"\n## {' '.join(words)}\n\n{_prose(command.help)}\n"
    for name in sorted(below):
        yield from _sections(below[name], (*words, name))


def _section(command: Any, words: tuple[str, ...]) -> str:
    shown = [parameter for parameter in command.params if not parameter.hidden and parameter.name != "help"]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    usage = " ".join((*words, *map(_place, arguments), *(["[OPTIONS]"] if options else [])))
    heading = "#" * min(len(words), 3)
    rows = "\n".join(
        [f"| `{_place(each)}` | {_said(each)} |" for each in arguments]
        + [f"| {_spelled(each)} | {_said(each)} |" for each in options]
    )
    table = f"\n| | |\n|---|---|\n{rows}\n" if rows else ""
    return f"\n{heading} {' '.join(words)}\n\n{_prose(command.help)}\n\n`{usage}`\n{table}"


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\b\n", "")


def _place(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    names = ", ".join((*option.opts, *option.secondary_opts))
    return f"`{names}`" if option.is_flag else f"`{names} {_value(option)}`"


def _value(option: Any) -> str:
    return str(option.metavar or option.opts[0].lstrip("-").replace("-", "_").upper())


def _said(parameter: Any) -> str:
    """Its help; the environment's name for it, and what it is otherwise."""
    facts = []
    if parameter.envvar:
        facts.append(f"else `{parameter.envvar}`")
    default = parameter.default
    if default not in (None, False, "", (), []) and not callable(default):
        facts.append(f"by default `{default}`")
    help_text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    return " ".join(filter(None, (help_text, f"({', '.join(facts)})" if facts else "")))
