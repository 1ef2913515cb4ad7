"""`sagahook schemas`: the contracts' files, for those who work on sagahook itself."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The contracts' JSON Schemas, examples and reference.", no_args_is_help=True)

Root = Annotated[Path, typer.Option(help="The repository.", exists=True, file_okay=False)]


@app.command()
def write(root: Root = Path()) -> None:
    """Generate the files again from the models."""
    from sagahook.cli import contracts

    for path in contracts.write(_repository(root)):
        typer.echo(path)


@app.command()
def check(root: Root = Path()) -> None:
    """Refuse drift, examples that do not fit, and changes that break what was published."""
    from sagahook.cli import contracts
    from sagahook.cli.schema_history import NoHistory, published
    from sagahook_schemas.codec import CONTRACTS

    problems = [*contracts.drift(_repository(root)), *contracts.example_problems(root)]
    try:
        history = published(root, contracts.SCHEMAS, contracts.EXAMPLES)
    except NoHistory as reason:
        compared = f"not compared with what was published: {reason}"
    else:
        problems += contracts.broken_promises(root, history)
        compared = f"compared with {len(history)} published files"
    for problem in problems:
        typer.echo(f"sagahook: {problem}", err=True)
    typer.echo(f"{len(CONTRACTS)} contracts, {compared}", err=bool(problems))
    if problems:
        raise typer.Exit(1)


def _repository(root: Path) -> Path:
    if not (root / "schemas" / "sagahook_schemas").is_dir():
        typer.echo(
            f"sagahook: {root.resolve()} is not sagahook's repository: say where with --root", err=True
        )
        raise typer.Exit(1)
    return root
