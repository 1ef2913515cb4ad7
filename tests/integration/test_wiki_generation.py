"""The wiki example: its generation in one process and as a durable saga, against its own services over real HTTP."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sagahook.saga import load_app
from sagahook.saga.http import close_sessions
from sagahook.testing import SagaTest
from sagahook.testing.run import Run
from sagahook_wiki_generation import filesystem, git
from sagahook_wiki_generation.generation import Outcome, WikiGenerationSaga
from sagahook_wiki_generation.internal import Store
from sagahook_wiki_generation.services import File
from tests.tracker_harness import serving

TOKEN = "between-us"
PAGES: list[File] = [
    {"path": "index.md", "content": "# Wiki"},
    {"path": "guide/start.md", "content": "# Start"},
    {"path": "guide/end.md", "content": "# End"},
]
PATHS = [page["path"] for page in PAGES]


class Counted:
    """An ASGI app, and which requests it was sent."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.requests: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.requests[f"{scope['method']} {scope['path']}"] += 1
        await self.app(scope, receive, send)


@dataclass
class Services:
    files_url: str
    git_url: str
    http: aiohttp.ClientSession
    counted: Counted

    def saga(self, token: str = TOKEN) -> WikiGenerationSaga:
        headers = {"X-INTERNAL-TOKEN": token}
        return WikiGenerationSaga("p-1", "ada", self.files_url, self.git_url, headers)

    async def generate(self, pages: list[File] | None = None) -> Outcome:
        return await self.saga().execute_with_consistency(PAGES if pages is None else pages)

    async def files(self) -> list[str]:
        async with self.http.get(f"{self.files_url}/files?project_id=p-1") as answer:
            found: list[str] = await answer.json()
            return found

    async def snapshots(self) -> list[dict[str, Any]]:
        async with self.http.get(f"{self.git_url}/snapshots?project_id=p-1") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def trouble(self, url: str, on: str, **how: Any) -> None:
        async with self.http.post(f"{url}/control", json={"on": on, **how}) as answer:
            assert answer.status == 200

    async def lock(self, *paths: str) -> None:
        async with self.http.put(f"{self.files_url}/locks", json=list(paths)) as answer:
            assert answer.status == 200

    async def create(self, path: str, key: str) -> int:
        body = {"project_id": "p-1", "path": path, "content": "somebody else's"}
        async with self.http.post(
            f"{self.files_url}/files", json=body, headers={"Idempotency-Key": key}
        ) as answer:
            return answer.status


@pytest_asyncio.fixture
async def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    files, snapshots = Store(tmp_path / "files.db", filesystem.TABLES), Store(tmp_path / "git.db", git.TABLES)
    counted: Any = Counted(filesystem.build_filesystem(files, TOKEN))
    async with (
        serving(counted) as files_url,
        serving(git.build_git(snapshots, TOKEN)) as git_url,
        aiohttp.ClientSession(headers={"X-INTERNAL-TOKEN": TOKEN}) as http,
    ):
        monkeypatch.setenv("WIKI_FILESYSTEM_URL", files_url)
        monkeypatch.setenv("WIKI_GIT_URL", git_url)
        yield Services(files_url, git_url, http, counted)
        await close_sessions()
    files.close()
    snapshots.close()


# -- in one process -------------------------------------------------------------------------------------------


async def test_all_files_are_created_one_by_one_and_kept_by_a_snapshot(services: Services) -> None:
    outcome = await services.generate()
    (snapshot,) = await services.snapshots()
    assert outcome == {
        "status": "completed",
        "files_created": PATHS,
        "snapshot_id": snapshot["snapshot_id"],
        "error": None,
        "saga_status": outcome["saga_status"],
        "message": f"3 files were created, and kept by the snapshot {snapshot['snapshot_id']}",
        "left_behind": [],
    }
    assert outcome["saga_status"] == {
        "saga_id": outcome["saga_status"]["saga_id"],
        "user_id": "ada",
        "state": "committed",
        "total_steps": 4,
        "completed_steps": 4,
        "failed_at": None,
        "error": None,
    }
    assert await services.files() == sorted(PATHS)
    assert [path for path, _ in snapshot["files"]] == sorted(PATHS)


async def test_a_failing_snapshot_rolls_back_all_files(services: Services) -> None:
    await services.trouble(services.git_url, "POST /snapshots", status=422, error="the disk is full")
    outcome = await services.generate()
    assert (outcome["status"], outcome["files_created"], outcome["snapshot_id"]) == ("rolled_back", [], None)
    assert "the disk is full" in str(outcome["error"])
    assert (outcome["saga_status"]["state"], outcome["saga_status"]["failed_at"]) == (
        "rolled_back",
        "snapshot",
    )
    assert await services.files() == []


async def test_files_that_are_rolled_back_at_once_are_deleted_in_batches(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagahook_wiki_generation.services.BATCH", 5)
    await services.trouble(services.git_url, "POST /snapshots", status=422)
    outcome = await services.generate([{"path": f"{number}.md", "content": ""} for number in range(8)])
    assert (outcome["status"], await services.files()) == ("rolled_back", [])
    assert services.counted.requests["POST /files/batch-delete"] == 2


async def test_what_cannot_be_rolled_back_is_named_for_somebody_to_remove_by_hand(services: Services) -> None:
    await services.trouble(services.git_url, "POST /snapshots", status=422)
    await services.lock("guide/start.md")
    outcome = await services.generate()
    assert (outcome["status"], outcome["left_behind"]) == ("failed", ["guide/start.md"])
    assert outcome["files_created"] == await services.files() == ["guide/start.md"]
    assert outcome["saga_status"]["state"] == "failed"
    assert outcome["message"].endswith("Remove it by hand: guide/start.md")


async def test_a_batch_that_is_not_answered_is_deleted_by_another_attempt(services: Services) -> None:
    await services.trouble(services.git_url, "POST /snapshots", status=422)
    await services.trouble(services.files_url, "batch-delete", status=503, times=2)
    outcome = await services.generate()
    assert (outcome["status"], await services.files()) == ("rolled_back", [])


async def test_a_file_that_somebody_else_created_is_no_part_of_the_rollback(services: Services) -> None:
    await services.create("guide/end.md", "another-key")
    outcome = await services.generate()
    assert (outcome["status"], outcome["saga_status"]["failed_at"]) == ("rolled_back", "file:3")
    assert await services.files() == ["guide/end.md"]


async def test_a_file_whose_answer_was_lost_is_created_once(services: Services) -> None:
    await services.trouble(services.files_url, "POST /files", status=502, applied=True)
    outcome = await services.generate()
    assert (outcome["status"], await services.files()) == ("completed", sorted(PATHS))


async def test_a_snapshot_of_which_nothing_is_known_is_dropped(services: Services) -> None:
    await services.generate([{"path": "before.md", "content": ""}])
    before = await services.snapshots()
    await services.trouble(services.git_url, "POST /snapshots", status=502, applied=True)
    await services.trouble(services.git_url, "POST /snapshots", status=502, times=3)
    outcome = await services.generate()
    assert (outcome["status"], await services.files()) == ("rolled_back", ["before.md"])
    assert await services.snapshots() == before


async def test_nothing_is_done_for_whoever_does_not_know_the_token(services: Services) -> None:
    outcome = await services.saga("guessed-it").execute_with_consistency(PAGES)
    assert (outcome["status"], await services.files()) == ("rolled_back", [])
    assert "X-INTERNAL-TOKEN" in str(outcome["error"])
    assert "guessed-it" not in str(outcome)


@pytest.mark.parametrize(("pages", "problem"), [([], "no files"), ([PAGES[0], PAGES[0]], "index.md")])
async def test_files_that_cannot_be_are_told_before_anything_is_done(
    services: Services, pages: list[File], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        await services.generate(pages)


async def test_a_file_that_arrives_after_it_was_undone_is_refused(services: Services) -> None:
    late = {"project_id": "p-1", "files": [{"path": "late.md", "created_by": "a-key"}]}
    async with services.http.post(f"{services.files_url}/files/batch-delete", json=late) as answer:
        assert await answer.json() == {"refused": []}
    assert await services.create("late.md", "a-key") == 409
    assert await services.files() == []


# -- as a durable saga ----------------------------------------------------------------------------------------


async def requested(world: SagaTest) -> Run:
    body = {"request_id": "r-1", "project_id": "p-1", "user_id": "ada", "files": PAGES}
    return (await world.receive("wiki", body)).run


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SagaTest:
    monkeypatch.setenv("SAGAHOOK_INTERNAL_TOKEN", TOKEN)
    monkeypatch.setenv("SAGAHOOK_INTERNAL_HOSTS", "127.0.0.1")
    return SagaTest(load_app("sagahook_wiki_generation.app"))


async def test_a_webhook_generates_the_same_wiki(world: SagaTest, services: Services) -> None:
    run = await requested(world)
    (snapshot,) = await services.snapshots()
    assert (run.status, run.result) == (
        "COMPLETED",
        {"files": PATHS, "snapshot_id": snapshot["snapshot_id"]},
    )
    assert await services.files() == sorted(PATHS)


async def test_a_crash_between_two_files_repeats_none_of_them(world: SagaTest, services: Services) -> None:
    world.crash_during("file:2", after_effect=True)
    run = await requested(world)
    assert (run.status, run.attempts("file:2")) == ("COMPLETED", 2)
    assert await services.files() == sorted(PATHS)


async def test_a_failing_snapshot_undoes_the_durable_saga_too(world: SagaTest, services: Services) -> None:
    await services.trouble(services.git_url, "POST /snapshots", status=422)
    run = await requested(world)
    assert (run.status, sorted(run.undone)) == ("ROLLED_BACK", ["file:1", "file:2", "file:3"])
    assert await services.files() == []


async def test_what_cannot_be_undone_leaves_the_durable_saga_failed_until_somebody_resolves_it(
    world: SagaTest, services: Services
) -> None:
    await services.trouble(services.git_url, "POST /snapshots", status=422)
    await services.lock("guide/start.md")
    run = await requested(world)
    assert (run.status, run.left_behind) == ("FAILED", ["file:2"])
    await services.lock()
    await world.resolve(run, "file:2", "retry")
    assert (run.status, await services.files()) == ("ROLLED_BACK", [])
