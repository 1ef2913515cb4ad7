"""`sagahook examples`: what there is, and one of them played on the embedded stack."""

from typing import Annotated

import typer

app = typer.Typer(help="Whole applications to look at, play and copy.", no_args_is_help=True)


@app.command("list")
def list_examples() -> None:
    """What there is, a line each."""
    from rich.console import Console
    from rich.markup import escape

    from sagahook.cli.examples_catalogue import CATALOGUE

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(entry.name) for entry in CATALOGUE)
    for entry in CATALOGUE:
        console.print(f"[bold]{entry.name:<{width}}[/]  {escape(entry.summary)}")
    console.print(
        "\n[dim]sagahook examples run NAME plays one of them on this machine; the code is in examples/NAME[/]"
    )


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Of the example, as `list` says it.")],
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Then leave everything running until Ctrl-C, to try things by hand."),
    ] = False,
) -> None:
    """Play an example on real Kafka and PostgreSQL. Exit code 0 only if all was seen that it promises."""
    from sagahook.cli.examples_catalogue import entry
    from sagahook.cli.playing import play_example

    found = entry(name)
    folder = found.name.replace("/", "-")
    play_example(found.load(), name=folder, heading=f"[bold]{found.name}[/]", keep=keep)
