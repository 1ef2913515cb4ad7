"""Plays an example in a terminal, or into a file, and says what was seen of it."""

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
    from sagahook.embedded.example import Example
    from sagahook.embedded.example_world import World
    from sagahook.embedded.scenes import Mood, Scene

_MARKS = {
    "plain": ("·", "default"),
    "good": ("✔", "green"),
    "bad": ("✘", "red"),
    "undo": ("↺", "yellow"),
    "violent": ("✖", "bold magenta"),
}


def play_example(example: Example, *, name: str, heading: str, keep: bool = False) -> None:
    """Returns once every scene was seen; else exits with 1. name: of the command, for its folder and its messages.

    keep: when all is played, everything goes on until Ctrl-C.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix=f"sagahook-{name}-"))
    try:
        all_seen = asyncio.run(_play(console, example, heading, folder, keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        raise typer.Exit(130) from None
    except StackError as error:
        console.print(f"[red]{escape(name)} cannot start.[/] {escape(str(error))}\nIts logs are in {folder}")
        raise typer.Exit(1) from None
    if not all_seen:
        console.print(f"The logs of every process are in {folder / 'stack' / 'logs'} and {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder, ignore_errors=True)


class Teller:
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


async def _play(console: Console, example: Example, heading: str, folder: Path, keep: bool) -> bool:
    """Whether every scene was seen. Raises StackError."""
    from sagahook.embedded.example_world import opened

    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = time.perf_counter()
    teller = Teller(console)
    console.print(f"\n{heading}\n{escape(example.about)}\n")
    console.print("Starting Kafka, PostgreSQL, the services, and what the sagas talk to")
    with console.status("…") as working:
        async with opened(example, folder, teller.aside) as world:
            console.print(f"Ready after {time.perf_counter() - started:.1f} s at {world.api}\n")
            missed = await play_scenes(console, teller, world, example.scenes)
            _sum_up(console, missed, len(example.scenes), time.perf_counter() - started)
            if keep:
                working.stop()
                await _keep(console, example, world)
            console.print("Stopping")
    return not missed


async def play_scenes(
    console: Console, teller: Teller, world: World, scenes: tuple[Scene, ...], seconds: float | None = None
) -> dict[int, str]:
    """What was not seen, by the scene's number. seconds: how long each may take, if not as long as usual."""
    from sagahook.embedded.scenes import SCENE_SECONDS, NotSeen, play

    missed: dict[int, str] = {}
    for number, scene in enumerate(scenes, 1):
        started = time.perf_counter()
        console.print(f"[bold]{number}. {escape(scene.title)}[/]")
        try:
            await play(scene, world, teller, seconds or SCENE_SECONDS)
        except NotSeen as problem:
            missed[number] = str(problem)
            console.print(f"  [red]{'not seen':>9}[/]  {escape(str(problem))}")
        console.print(f"  [dim]{'took':>9}  {_duration(time.perf_counter() - started)}[/]\n")
    return missed


async def _keep(console: Console, example: Example, world: World) -> None:
    """Until Ctrl-C or SIGTERM."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    keys = "\n".join(f"  {role:<9} {key}" for role, key in world.keys.items())
    console.print(f"\n[bold]It goes on until Ctrl-C[/], at {world.api}, with these API keys:\n{keys}")
    if example.poke:
        console.print(f"\nTry:\n{escape(example.poke.format(**world.gaps()))}\n")
    await done.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)  # a second one does not wait until everything has ended


def _sum_up(console: Console, missed: dict[int, str], scenes: int, seconds: float) -> None:
    colour = "red" if missed else "green"
    console.print(
        f"[bold {colour}]{scenes - len(missed)} of {scenes} scenes were seen[/], in {seconds:.1f} s altogether"
    )
    for number, problem in missed.items():
        console.print(f"[red]Scene {number} was not:[/] {escape(problem)}")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
