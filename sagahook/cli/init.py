"""`sagahook init NAME`: an app of one's own to begin with. `sagahook manifests`: its base on Kubernetes, renewed."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    name: Annotated[
        str, typer.Argument(help="Lower-case letters, digits and -; also the new folder's name.")
    ],
    into: Annotated[Path, typer.Option(help="Where the folder is made.", file_okay=False)] = Path(),
) -> None:
    """Make a small app with a saga, tests, a Dockerfile and Kubernetes overlays. Nothing is overwritten."""
    from rich.console import Console
    from rich.markup import escape

    from sagahook.cli.new_app import module_of, write_app

    module = module_of(name)
    folder = into / name
    written = [path.relative_to(folder) for path in write_app(name, folder)]
    manifests = [path for path in written if path.parts[0] == "deploy"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(str(folder))}[/] has {len(written)} files:")
    for path in written:
        if path not in manifests:
            console.print(f"  {path}")
    console.print("  deploy [dim](sagahook's manifests, and overlays for dev, prod and managed)[/]")
    console.print(
        f"\nNow:\n  cd {escape(str(folder))}\n"
        f"  make test                         [dim]# or, with what is installed here: python -m pytest[/]\n"
        f"  make shop                         [dim]# what the saga calls, in a terminal of its own[/]\n"
        f"  make dev                          [dim]# sagahook with your saga, in another[/]\n"
        f"  make send                         [dim]# an order, in a third[/]\n"
        f"\nThe saga is in {module}/sagas.py; README.md goes on to production."
    )


def manifests(
    folder: Annotated[Path, typer.Argument(help="Of the app's manifests.", file_okay=False)] = Path("deploy"),
) -> None:
    """Write this version's Kubernetes manifests in the place of those in FOLDER. Its overlays stay as they are."""
    from sagahook.cli.new_app import write_manifests
    from sagahook.embedded.errors import StackError

    if not (folder / "k8s" / "base" / "kustomization.yaml").exists():
        raise StackError(
            f"{folder} has no k8s/base in it: name the folder `deploy` that `sagahook init` made"
        )
    write_manifests(folder)
    typer.echo(f"{folder / 'k8s'} has the base and the components of this version: look at what is different")
