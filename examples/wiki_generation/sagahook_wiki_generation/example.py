"""What `sagahook examples run wiki_generation` plays."""

from __future__ import annotations

from typing import Any

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is, webhook_sent
from sagahook.saga.http import close_sessions
from sagahook_wiki_generation.generation import WikiGenerationSaga

_PAGES = ["index.md", "guide/start.md", "guide/end.md"]


def _stage(place: Place) -> Stage:
    internal = {"SAGAHOOK_INTERNAL_TOKEN": place.secret, "SAGAHOOK_INTERNAL_HOSTS": "127.0.0.1"}

    def service(name: str) -> Server:
        arguments = ("--port", str(place.port(name)), "--db", str(place.folder / f"{name}.db"))
        return Server(name, f"sagahook_wiki_generation.{name}", arguments, internal, ready="/health")

    return Stage(
        "sagahook_wiki_generation.app",
        (service("filesystem"), service("git")),
        {
            "WIKI_FILESYSTEM_URL": place.url("filesystem"),
            "WIKI_GIT_URL": place.url("git"),
            **internal,
        },
    )


async def wiki_is_generated(world: World, narrator: Narrator) -> None:
    posted = await _requested(world, narrator, "p-1")
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "completed")
    snapshots = await _ask(world, "GET", "git", "/snapshots?project_id=p-1")
    expect(await _files(world, "p-1") == sorted(_PAGES), "each of the files is there")
    expect([path for path, _ in snapshots[0]["files"]] == sorted(_PAGES), "the snapshot holds all of them")
    narrator.seen(f"3 files, and the snapshot {snapshots[0]['snapshot_id']} that holds them")


async def snapshot_fails(world: World, narrator: Narrator) -> None:
    await _snapshots_fail(world)
    posted = await _requested(world, narrator, "p-2")
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "failed", error="the disk is full")
    expect(await _files(world, "p-2") == [], "no file is left")
    narrator.seen("all files were deleted again")


async def file_stays_behind(world: World, narrator: Narrator) -> None:
    await _snapshots_fail(world)
    await _ask(world, "PUT", "filesystem", "/locks", ["guide/start.md"])
    posted = await _requested(world, narrator, "p-3")
    await follow(world, narrator, posted)
    saga_id = await status_is(world, narrator, posted, "failed")
    saga = await world.saga(saga_id)
    expect(saga["state"] == "FAILED", f"the saga waits for somebody, as FAILED, not {saga['state']}")
    expect(await _files(world, "p-3") == ["guide/start.md"], "only the locked file is left")
    narrator.seen("FAILED: guide/start.md is locked, and is left for somebody to remove; the others are gone")
    await _ask(world, "PUT", "filesystem", "/locks", [])
    by_hand = {"actor": "ada", "reason": "the file is not open any more"}
    await world.send("POST", f"/api/v1/sagas/{saga_id}/compensations/file:2:retry", by_hand, "operator")
    await world.until(f"/webhooks/status/{saga_id}", lambda saga: saga["state"] == "ROLLED_BACK")
    expect(await _files(world, "p-3") == [], "no file is left")
    narrator.seen("an operator had the compensation tried again: ROLLED_BACK, and nothing is left")


async def without_kafka(world: World, narrator: Narrator) -> None:
    headers = {"X-INTERNAL-TOKEN": world.secret}
    generation = WikiGenerationSaga("p-4", "ada", world.url("filesystem"), world.url("git"), headers)
    outcome = await generation.execute_with_consistency([{"path": path, "content": "#"} for path in _PAGES])
    await close_sessions()
    expect(outcome["status"] == "completed", f"it is completed, not {outcome['message']}")
    narrator.seen(f"execute_with_consistency: {outcome['message']}")


async def _requested(world: World, narrator: Narrator, project: str) -> Posted:
    body = {
        "request_id": "r-1",
        "project_id": project,
        "user_id": "ada",
        "files": [{"path": path, "content": f"# {path}"} for path in _PAGES],
    }
    return await webhook_sent(world, narrator, "wiki", body, f"a wiki of 3 files for {project}")


async def _snapshots_fail(world: World) -> None:
    trouble = {"on": "POST /snapshots", "status": 422, "error": "the disk is full"}
    await _ask(world, "POST", "git", "/control", trouble)


async def _files(world: World, project: str) -> Any:
    return await _ask(world, "GET", "filesystem", f"/files?project_id={project}")


async def _ask(world: World, method: str, service: str, path: str, body: Any = None) -> Any:
    headers = {"X-INTERNAL-TOKEN": world.secret}
    async with world.http.request(method, world.url(service) + path, json=body, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()


EXAMPLE = Example(
    "A wiki is generated file by file and kept by a snapshot; where that fails, nothing of it stays.",
    _stage,
    scenes=(
        Scene("A webhook generates a wiki: each file, then the snapshot", wiki_is_generated),
        Scene("The snapshot fails, and every file is deleted again", snapshot_fails),
        Scene("A file cannot be deleted: FAILED, until somebody has seen to it", file_stays_behind),
        Scene("The same steps in one process, without Kafka", without_kafka),
    ),
    poke="""\
curl -X POST {api}/webhooks/wiki -H 'Content-Type: application/json' \\
     -d '{{"request_id": "1", "project_id": "mine", "user_id": "you", "files": [
          {{"path": "a.md", "content": "A"}}, {{"path": "b.md", "content": "B"}}]}}'
curl -H 'X-INTERNAL-TOKEN: {secret}' '{filesystem}/files?project_id=mine'
curl -H 'X-INTERNAL-TOKEN: {secret}' '{git}/snapshots?project_id=mine'
curl -X PUT -H 'X-INTERNAL-TOKEN: {secret}' -H 'Content-Type: application/json' {filesystem}/locks -d '["a.md"]'""",
)
