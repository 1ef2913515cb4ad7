"""The examples of web frameworks, all on one stack, each in its own server."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.cli.examples_catalogue import entry
from sagahook.embedded.example import Example, Place, Stage
from sagahook.embedded.example_world import World, opened
from sagahook.embedded.scenes import Scene, play

EXAMPLES = ("flask_app", "fastapi_app", "django_app")
SCENES = [
    pytest.param(scene, id=f"{name}: {scene.title}")
    for name in EXAMPLES
    for scene in entry(name).load().scenes
]
PATIENCE = 120.0


class Silent:
    """A Narrator whom nobody listens to."""

    def happened(self, at: float, mood: str, text: str) -> None: ...

    def seen(self, text: str) -> None: ...


def _stage(place: Place) -> Stage:
    """They have the same sagas, and the same shop."""
    stages = [entry(name).load().stage(place) for name in EXAMPLES]
    servers = {server.name: server for stage in stages for server in stage.servers}
    return Stage(stages[0].app, tuple(servers.values()), stages[0].settings)


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    together = Example("The frameworks on one stack", _stage, ())
    async with opened(together, tmp_path_factory.mktemp("frameworks"), lambda line: None) as world:
        yield world


@pytest.mark.parametrize("scene", SCENES)
async def test_what_an_example_promises_is_seen(world: World, scene: Scene) -> None:
    await play(scene, world, Silent(), PATIENCE)
