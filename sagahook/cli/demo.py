"""`sagahook demo`: the whole way in four scenes, told in a terminal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from sagahook.embedded.errors import StackError

if TYPE_CHECKING:
    from sagahook.embedded.demo_scenes import Mood
    from sagahook.embedded.demo_world import DemoWorld

_MARKS = {
    "plain": ("·", "default"),
    "good": ("✔", "green"),
    "bad": ("✘", "red"),
    "undo": ("↺", "yellow"),
    "violent": ("✖", "bold magenta"),
}


def demo() -> None:
    """Play the whole way in four scenes, on real Kafka and PostgreSQL. Exit code 0 only if all were seen."""
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="sagahook-demo-"))
    try:
        all_seen = asyncio.run(_play(console, folder))
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        raise typer.Exit(130) from None
    except StackError as error:
        console.print(f"[red]The demo cannot start.[/] {escape(str(error))}\nIts logs are in {folder}")
        raise typer.Exit(1) from None
    if not all_seen:
        console.print(f"The logs of every process are in {folder / 'stack' / 'logs'} and {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder, ignore_errors=True)


class _Teller:
    """A Narrator for the terminal, or for a file."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def happened(self, at: float, mood: Mood, text: str) -> None:
        mark, colour = _MARKS[mood]
        self._console.print(f"  [dim]{_duration(at):>9}[/]  [{colour}]{mark}[/] {escape(text)}")

    def seen(self, text: str) -> None:
        self._console.print(f"  [green]{'seen':>9}[/]  {escape(text)}")

    def aside(self, text: str) -> None:
        self._console.print(f"  [dim]{'':>9}  {escape(text)}[/]")


async def _play(console: Console, folder: Path) -> bool:
    """Whether every scene was seen. Raises StackError."""
    from sagahook.embedded.demo_world import demo_world

    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = time.perf_counter()
    teller = _Teller(console)
    console.print("\n[bold]sagahook[/]: webhooks in, sagas through, webhooks out\n")
    console.print("Starting Kafka, PostgreSQL, the services, and a shop for the orders to talk to")
    with console.status("…"):
        async with demo_world(folder, teller.aside) as world:
            console.print(f"Ready after {time.perf_counter() - started:.1f} s at {world.api}")
            console.print(
                "An order reserves inventory, charges the payment and ships; what fails is undone.\n"
            )
            missed = await _play_scenes(console, teller, world)
            console.print("Stopping")
    _sum_up(console, missed, time.perf_counter() - started)
    return not missed


async def _play_scenes(console: Console, teller: _Teller, world: DemoWorld) -> dict[int, str]:
    """What was not seen, by the scene's number."""
    from sagahook.embedded.demo_scenes import SCENES, NotSeen, play

    missed: dict[int, str] = {}
    for number, scene in enumerate(SCENES, 1):
        started = time.perf_counter()
        console.print(f"[bold]{number}. {scene.title}[/]")
        try:
            await play(scene, world, teller)
        except NotSeen as problem:
            missed[number] = str(problem)
            console.print(f"  [red]{'not seen':>9}[/]  {escape(str(problem))}")
        console.print(f"  [dim]{'took':>9}  {_duration(time.perf_counter() - started)}[/]\n")
    return missed


def _sum_up(console: Console, missed: dict[int, str], seconds: float) -> None:
    from sagahook.embedded.demo_scenes import SCENES

    seen = len(SCENES) - len(missed)
    colour = "red" if missed else "green"
    console.print(
        f"[bold {colour}]{seen} of {len(SCENES)} scenes were seen[/], in {seconds:.1f} s altogether"
    )
    for number, problem in missed.items():
        console.print(f"[red]Scene {number} was not:[/] {escape(problem)}")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
