"""`sagahook demo` as a person runs it, and what it says when a scene is not seen."""

import asyncio
import os
import sys
from io import StringIO
from pathlib import Path
from typing import cast

from rich.console import Console

from sagahook.cli.playing import Teller, play_scenes
from sagahook.embedded.example_world import World
from sagahook.embedded.scenes import Narrator, NotSeen, Scene

NO_WORLD = cast("World", None)


async def test_all_four_scenes_are_seen_and_nothing_is_left_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "demo"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert "4 of 4 scenes were seen" in output
    assert "\x1b" not in output, "a file gets no colours"
    assert not [name for name in os.listdir(tmp_path) if name.startswith("sagahook-demo-")]


async def test_a_scene_that_is_not_seen_is_named_and_the_others_are_played() -> None:
    played: list[str] = []

    async def fails(world: World, narrator: Narrator) -> None:
        raise NotSeen("it should be that pigs fly")

    async def hangs(world: World, narrator: Narrator) -> None:
        await asyncio.Event().wait()

    async def passes(world: World, narrator: Narrator) -> None:
        narrator.seen("the sky is up")
        played.append("passes")

    scenes = (Scene("Pigs", fails), Scene("Waiting", hangs), Scene("Sky", passes))
    console = Console(file=StringIO(), soft_wrap=True)
    missed = await play_scenes(console, Teller(console), NO_WORLD, scenes, seconds=0.05)
    assert played == ["passes"]
    assert missed.keys() == {1, 2}
    assert "pigs fly" in missed[1]
    assert "not over" in missed[2]
