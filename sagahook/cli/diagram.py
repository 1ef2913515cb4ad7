"""`sagahook diagram`: a saga as Mermaid text, from its code or from its log."""

from __future__ import annotations

from typing import Annotated

import typer

from sagahook.cli.sagas import Key, Url
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient


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
    definition: Annotated[str | None, typer.Option(help="A saga's name: its definition as deployed.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="With --definition; else the newest.")] = None,
    svg: Annotated[
        bool, typer.Option("--svg", help="As SVG, where the tracker has a renderer (mmdc). Not of a module.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """A saga's steps as a Mermaid flowchart."""
    try:
        if sum(each is not None for each in (module, saga, definition)) != 1:
            raise NotDone("Give one of MODULE[:SAGA], --saga ID and --definition NAME")
        if module is not None:
            drawn = _from_code(module)
        else:
            drawn = _from_log(SagasClient(url, key), saga, definition, version, svg)
    except NotDone as reason:
        typer.echo(f"sagahook: {reason}", err=True)
        raise typer.Exit(1) from None
    typer.echo(drawn, nl=False)


def _from_log(
    client: SagasClient, saga_id: str | None, name: str | None, version: int | None, svg: bool
) -> str:
    kind = "svg" if svg else None
    if saga_id is not None:
        return client.text("sagas", saga_id, "diagram", format=kind)
    return client.text("definitions", name or "", "diagram", format=kind, version=version)


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
