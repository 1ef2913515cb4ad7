"""`sagahook diagram`: a saga as Mermaid text, from its code or from its log."""

from __future__ import annotations

from typing import Annotated

import typer

from sagahook.cli.sagas import DEFAULT_URL, Key, Url
from sagahook.cli.sagas_client import NotDone, SagasClient


def diagram(
    module: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE[:SAGA]", help="A file or a dotted module name, and which of its sagas."
        ),
    ] = None,
    saga: Annotated[
        str | None, typer.Option(help="A saga's id: its definition as deployed, with the trail it took.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """A saga's steps as a Mermaid flowchart."""
    try:
        if (module is None) == (saga is None):
            raise NotDone("Give either MODULE[:SAGA] or --saga ID")
        drawn = _from_code(module) if module is not None else _from_log(SagasClient(url, key), saga or "")
    except NotDone as reason:
        typer.echo(f"sagahook: {reason}", err=True)
        raise typer.Exit(1) from None
    typer.echo(drawn, nl=False)


def _from_log(client: SagasClient, saga_id: str) -> str:
    return client.text("sagas", saga_id, "diagram")


def _from_code(module: str) -> str:
    """Raises NotDone."""
    from sagahook.saga import AppError, DefinitionError, load_app
    from sagahook_tracker.domain.diagram import mermaid

    name, _, wanted = module.partition(":")
    try:
        definitions = {each.definition.name: each.definition for each in load_app(name).newest()}
    except (AppError, DefinitionError) as wrong:
        raise NotDone(str(wrong)) from wrong
    if wanted and wanted not in definitions:
        raise NotDone(f"{name} has no saga {wanted!r}; it has {', '.join(definitions)}")
    if not wanted and len(definitions) > 1:
        raise NotDone(f"{name} has several sagas: say which, as {name}:{next(iter(definitions))}")
    return mermaid(definitions[wanted] if wanted else next(iter(definitions.values())))
