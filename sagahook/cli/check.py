"""`sagahook check MODULE`: what the sagas of a module are, or everything that is wrong with them."""

import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sagahook_schemas.definitions import SagaDefinition, StepDefinition, TriggerDefinition


def check(
    module: Annotated[
        str, typer.Argument(help="A dotted module name, or a path to a .py file.", metavar="MODULE")
    ],
) -> None:
    """Show each saga of a module with its triggers and its steps, level by level; or what is wrong, a line each."""
    from sagahook.saga.app import AppError, check_app
    from sagahook.saga.errors import DefinitionError

    try:
        app = check_app(module)
    except DefinitionError as wrong:
        for problem in wrong.problems:
            typer.echo(f"sagahook: {problem}", err=True)
        raise typer.Exit(1) from None
    except AppError as unusable:
        typer.echo(f"sagahook: {unusable}", err=True)
        raise typer.Exit(1) from None
    except Exception:
        typer.echo(f"sagahook: importing {module} fails:\n{traceback.format_exc(limit=-3)}", err=True)
        raise typer.Exit(1) from None
    sys.stdout.write("\n\n".join("\n".join(_saga(each)) for each in app.definitions()) + "\n")


def _saga(definition: "SagaDefinition") -> Iterator[str]:
    yield f"{definition.key}  {definition.hash}"
    for trigger in definition.triggers:
        yield f"  trigger {_trigger(trigger)}"
    if not definition.triggers:
        yield "  no trigger: only a parent starts it"
    if definition.code:
        yield "  steps as its function asks for them"
        return
    levels: dict[int, list[str]] = {}
    for name, level in definition.levels.items():
        levels.setdefault(level, []).append(_step(definition.by_name[name]))
    for level, steps in sorted(levels.items()):
        yield f"  {level + 1}. {' | '.join(steps)}"
    if not levels:
        yield "  no steps"


def _trigger(trigger: "TriggerDefinition") -> str:
    said = [trigger.source if trigger.event is None else f"{trigger.source} {trigger.event}"]
    if trigger.keyed_by_code:
        said.append("one saga for each value of its function")
    elif trigger.identifying:
        said.append(f"one saga for each {' + '.join(trigger.identifying)}")
    of_each = f" for each {trigger.concurrency_key}" if trigger.concurrency_key else ""
    if trigger.max_concurrent is not None:
        said.append(f"at most {trigger.max_concurrent} at once{of_each}")
    if trigger.rate_limit is not None:
        said.append(f"at most {trigger.rate_limit.count} starts in {trigger.rate_limit.per:g} s{of_each}")
    return ", ".join(said)


def _step(step: "StepDefinition") -> str:
    match step.does:
        case "sleep":
            what = "until its function says" if step.seconds is None else f"{step.seconds:g} s"
            said = [f"sleep {what}"]
        case "signal":
            patience = "" if step.patience is None else f" for {step.patience:g} s"
            said = [f"signal {step.signal}{patience}"]
        case "child":
            said = [f"saga {step.child}"]
        case "each":
            said = [
                "for each item" if step.concurrency is None else f"for each item, {step.concurrency} at once"
            ]
        case "participant":
            said = [f"participant {step.participant}"]
        case _:
            said = []
    said += ["pivot"] if step.pivot else []
    said += ["undoable"] if step.undoable else []
    return f"{step.name} ({', '.join(said)})" if said else step.name
