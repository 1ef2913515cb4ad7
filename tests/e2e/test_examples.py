"""The examples, played: several on one stack, and each by its own command."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.cli.examples_catalogue import CATALOGUE, Entry, entry
from sagahook.embedded.example import Example, Place, Stage
from sagahook.embedded.example_world import World, opened
from sagahook.embedded.scenes import Scene, play

PACKS = ("approvals", "travel", "document_ingestion", "github_orchestrator", "wiki_generation")
FRAMEWORKS = ("flask_app", "fastapi_app", "django_app")
"""Each in its own server, with the orders' sagas and one shop for all of them."""
PLAYED = PACKS + FRAMEWORKS
"""Their sagas are those of tests/apps/packs.py; `sagahook demo` plays the orders."""
SCENES = [
    pytest.param(scene, id=f"{name}: {scene.title}") for name in PLAYED for scene in entry(name).load().scenes
]
PATIENCE = 120.0


class Silent:
    """A Narrator whom nobody listens to."""

    def happened(self, at: float, mood: str, text: str) -> None: ...

    def seen(self, text: str) -> None: ...


def _stage(place: Place) -> Stage:
    stages = [entry(name).load().stage(place) for name in PLAYED]
    servers = {server.name: server for stage in stages for server in stage.servers}
    return Stage(
        "tests.apps.packs",
        tuple(servers.values()),
        {name: value for stage in stages for name, value in stage.settings.items()},
    )


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    together = Example("Several examples on one stack", _stage, ())
    async with opened(together, tmp_path_factory.mktemp("packs"), lambda line: None) as world:
        yield world


@pytest.mark.parametrize("scene", SCENES)
async def test_what_an_example_promises_is_seen(world: World, scene: Scene) -> None:
    await play(scene, world, Silent(), PATIENCE)


@pytest.mark.long
@pytest.mark.parametrize("example", CATALOGUE, ids=lambda each: each.name)
async def test_an_example_runs_by_its_one_command(example: Entry) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "examples", "run", example.name),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    scenes = len(example.load().scenes)
    assert f"{scenes} of {scenes} scenes were seen" in output


@pytest.mark.long
async def test_an_example_that_is_kept_says_what_to_try_and_ends_when_it_is_told_to() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "examples", "run", "travel", "--keep"),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    said = (await process.stdout.readuntil(b"It goes on until Ctrl-C")).decode()
    said += (await process.stdout.readuntil(b"/definitions/trip/diagram")).decode()
    process.send_signal(signal.SIGINT)
    rest = (await process.communicate())[0].decode()
    assert process.returncode == 0, said + rest
    assert "trip_ordered" in said
    assert "Stopping" in rest
