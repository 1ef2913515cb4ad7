"""The GitHub example's sagas in memory, on a virtual clock, against its own GitHub and its own agent over real HTTP."""

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from orjson import loads
from prometheus_client import REGISTRY

from sagahook.saga import PermanentError, load_app
from sagahook.saga.http import HttpAnswer, close_sessions
from sagahook.testing import SagaTest
from sagahook.testing.run import Run
from sagahook_github_orchestrator import github
from sagahook_github_orchestrator.stand_in_codegen import Agents, build_codegen
from sagahook_github_orchestrator.stand_in_codegen import Control as AgentControl
from sagahook_github_orchestrator.stand_in_github import Control, Hub, Trouble, build_github
from tests.node_tools import run_script
from tests.tracker_harness import serving

REPOSITORY = {"id": 35129377, "full_name": "octo/hello", "html_url": "https://github.com/octo/hello"}
SHA = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
LINT = {"name": "lint", "status": "completed", "conclusion": "success", "output": {"title": None}}
TEST = {"name": "test", "status": "completed", "conclusion": "failure", "output": {"title": "1 test failed"}}
BUILD = {"name": "build", "status": "in_progress", "conclusion": None, "output": {"title": None}}
OPENED = {
    "action": "opened",
    "repository": REPOSITORY,
    "pull_request": {"number": 7, "title": "Say hello", "head": {"ref": "greet", "sha": SHA}},
}
PUSHED = {
    "ref": "refs/heads/main",
    "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "after": SHA,
    "created": False,
    "deleted": False,
    "compare": "https://github.com/octo/hello/compare/6113728...ec26c3e",
    "repository": REPOSITORY,
}


def check_failed(*pulls: int, conclusion: str = "failure") -> dict[str, Any]:
    run = {
        "id": 128620228,
        "name": "test",
        "conclusion": conclusion,
        "head_sha": SHA,
        "check_suite": {"head_branch": "greet"},
        "pull_requests": [{"number": number} for number in pulls],
        "html_url": "https://github.com/octo/hello/runs/128620228",
    }
    return {"action": "completed", "check_run": run, "repository": REPOSITORY}


def suite_failed(*pulls: int) -> dict[str, Any]:
    suite = {
        "id": 118578147,
        "app": {"name": "CI"},
        "conclusion": "failure",
        "head_branch": "greet",
        "head_sha": SHA,
        "pull_requests": [{"number": number} for number in pulls],
    }
    return {"action": "completed", "check_suite": suite, "repository": REPOSITORY}


def changed(name: str, lines: int = 1) -> dict[str, Any]:
    return {
        "filename": name,
        "additions": lines,
        "deletions": 1,
        "changes": lines + 1,
        "patch": "@@ " * 1_000,
    }


@dataclass
class World:
    sagas: SagaTest
    hub: Hub
    agents: Agents

    async def opened(self) -> Run:
        return (await self.sagas.receive("github", OPENED, event="pull_request")).run

    async def told(self, event: str, body: Any) -> Run:
        """A saga that has a child of its own; the child's run is not it."""
        (run,) = (await self.sagas.receive("github", body, event=event)).runs
        return run

    @property
    def comments(self) -> list[str]:
        return [each["body"] for each in self.hub.comments.values()]

    @property
    def states(self) -> list[str]:
        return [each["state"] for each in self.hub.statuses]

    def trouble(self, on: str, **how: Any) -> None:
        self.hub.change(Control(trouble=[Trouble(on=on, **how)]))


@pytest_asyncio.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    sagas = SagaTest(load_app("sagahook_github_orchestrator.app"))

    def clock() -> float:
        return sagas.now.timestamp()

    hub = Hub("a-token", clock, check_runs=[LINT], files=[changed("hello.py", 9), changed("README.md")])
    agents = Agents("another-token", "42")
    monkeypatch.setattr(github, "clock", clock)
    async with serving(build_github(hub)) as api, serving(build_codegen(agents)) as codegen:
        for name, value in {
            "GITHUB_API_URL": api,
            "GITHUB_TOKEN": hub.token,
            "CODEGEN_API_URL": codegen,
            "CODEGEN_TOKEN": agents.token,
            "CODEGEN_ORG_ID": agents.org_id,
        }.items():
            monkeypatch.setenv(name, value)
        yield World(sagas, hub, agents)
        await close_sessions()


def counted(status: str) -> float:
    return REGISTRY.get_sample_value("codegen_agent_tasks_total", {"status": status}) or 0.0


# -- a pull request -------------------------------------------------------------------------------------------


async def test_a_pull_request_gets_a_comment_and_the_status_that_its_checks_earn(world: World) -> None:
    run = await world.opened()
    assert run.status == "COMPLETED"
    assert run.done == ["status_before", "announce", "files", "checks", "comment", "conclude"]
    assert world.states == ["pending", "success"]
    (comment,) = world.comments
    assert "2 files, +10 -2" in comment
    assert "1 passed, 0 failed, 0 running" in comment
    assert world.hub.statuses[-1]["target_url"] == "https://github.com/octo/hello/pull/7#issuecomment-5"


async def test_a_failed_check_fails_the_status_and_is_named(world: World) -> None:
    world.hub.check_runs = [LINT, TEST]
    await world.opened()
    assert world.states == ["pending", "failure"]
    assert "- ✗ test" in world.comments[0]


async def test_the_same_head_commit_is_analysed_once(world: World) -> None:
    first = await world.opened()
    again = await world.sagas.receive("github", {**OPENED, "action": "reopened"}, event="pull_request")
    assert again.run.saga_id == first.saga_id
    assert len(world.comments) == 1


async def test_every_page_of_the_changed_files_is_read(world: World) -> None:
    world.hub.files = [changed(f"{number}.py") for number in range(250)]
    run = await world.opened()
    assert run.results["files"]["files"] == 250
    assert world.hub.requests.count("GET /repos/octo/hello/pulls/7/files") == 3


async def test_checks_that_run_are_looked_at_again_and_what_did_not_change_costs_nothing(
    world: World,
) -> None:
    world.hub.check_runs = [LINT, BUILD]
    run = await world.opened()
    looks = run.attempts("checks")
    assert (run.status, looks) == ("COMPLETED", 40)
    assert "- … build, still running" in world.comments[0]
    assert world.hub.used == len(world.hub.requests) - (looks - 1)


async def test_checks_that_end_meanwhile_are_told_as_they_ended(world: World) -> None:
    world.hub.check_runs = [BUILD]

    def end_them() -> float:
        if len(world.hub.requests) > 8:
            world.hub.check_runs = [LINT]
        return world.sagas.now.timestamp()

    world.hub.clock = end_them
    run = await world.opened()
    assert run.results["checks"] == {"passed": 1, "failed": [], "running": []}


# -- undone ---------------------------------------------------------------------------------------------------


async def test_where_a_comment_is_refused_the_status_is_set_back(world: World) -> None:
    world.trouble("POST /repos/octo/hello/issues", status=403, message="issue is locked")
    run = await world.opened()
    assert (run.status, run.undone) == ("ROLLED_BACK", ["announce"])
    assert "issue is locked" in str(run.error)
    assert (world.states, world.comments) == (["pending", "error"], [])


async def test_a_status_is_set_back_to_what_it_was(world: World) -> None:
    world.hub.statuses.append(
        {
            "context": "sagahook/analysis",
            "state": "failure",
            "description": "as before",
            "target_url": "https://ci.example/1",
            "sha": SHA,
        }
    )
    world.trouble("POST /repos/octo/hello/issues", status=404, message="Not Found")
    await world.opened()
    assert world.states == ["failure", "pending", "failure"]
    assert (world.hub.statuses[-1]["description"], world.hub.statuses[-1]["target_url"]) == (
        "as before",
        "https://ci.example/1",
    )


async def test_where_the_last_status_is_refused_the_comment_is_deleted(world: World) -> None:
    world.trouble("POST /repos/octo/hello/statuses", status=422, message="Validation Failed", after=1)
    run = await world.opened()
    assert (run.status, run.undone) == ("ROLLED_BACK", ["comment", "announce"])
    assert (world.states, world.comments) == (["pending", "error"], [])


async def test_a_comment_whose_answer_was_lost_is_not_written_again(world: World) -> None:
    world.trouble("POST /repos/octo/hello/issues", status=502, applied=True)
    run = await world.opened()
    assert (run.status, run.attempts("comment"), len(world.comments)) == ("COMPLETED", 2, 1)


async def test_a_comment_of_which_nothing_is_known_is_found_and_deleted(world: World) -> None:
    world.trouble("POST /repos/octo/hello/issues", status=502, applied=True)
    world.trouble("GET /repos/octo/hello/issues", status=429, times=8)
    run = await world.opened()
    assert (run.status, run.undone) == ("ROLLED_BACK", ["comment", "announce"])
    assert world.comments == []


async def test_a_comment_that_somebody_else_deleted_is_gone_too(world: World) -> None:
    world.trouble("POST /repos/octo/hello/statuses", status=422, message="Validation Failed", after=1)
    world.trouble("DELETE /repos/octo/hello/issues", status=404, message="Not Found", applied=True)
    run = await world.opened()
    assert (run.status, world.comments) == ("ROLLED_BACK", [])


async def test_a_wrong_token_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a-wrong-one")
    run = await world.opened()
    assert (run.status, world.states) == ("ROLLED_BACK", [])
    assert "Bad credentials" in str(run.error)
    assert "a-wrong-one" not in str(run.transcript)


# -- limits ---------------------------------------------------------------------------------------------------


async def test_a_limit_that_is_used_up_is_waited_for_and_nobody_asks_meanwhile(world: World) -> None:
    began = world.sagas.now
    world.hub.change(Control(remaining=3))
    run = await world.opened()
    assert run.status == "COMPLETED"
    assert (world.sagas.now - began).total_seconds() >= 3_600
    assert len(world.hub.requests) == 6  # as many as without a limit: none was refused


@pytest.mark.parametrize(
    ("status", "message", "headers", "seconds"),
    [
        (403, "You have exceeded a secondary rate limit", {"Retry-After": "90"}, 90),
        (429, "Too many requests", {"Retry-After": "120"}, 120),
        (403, "You have exceeded a secondary rate limit", {}, 60),
        (429, "Too many requests", {}, 60),
    ],
)
async def test_a_secondary_limit_is_waited_for_as_long_as_github_says(
    world: World, status: int, message: str, headers: dict[str, str], seconds: int
) -> None:
    began = world.sagas.now
    world.trouble("POST /repos/octo/hello/issues", status=status, message=message, headers=headers)
    run = await world.opened()
    assert (run.status, len(world.comments)) == ("COMPLETED", 1)
    assert (world.sagas.now - began).total_seconds() >= seconds


async def test_what_github_says_of_its_limit_is_told_to_the_metrics(world: World) -> None:
    await world.opened()
    left = REGISTRY.get_sample_value("github_api_rate_limit_remaining", {"resource": "core"})
    assert left == world.hub.limit - world.hub.used


def test_a_page_of_another_api_is_not_asked_for() -> None:
    answer = HttpAnswer(200, {"link": '<https://elsewhere.example/pulls?page=2>; rel="next"'})
    with pytest.raises(PermanentError, match="GITHUB_API_URL"):
        github.next_page(answer)


# -- a failed check -------------------------------------------------------------------------------------------


async def test_a_failed_check_is_given_to_an_agent_and_the_pull_request_told(world: World) -> None:
    started, completed = counted("started"), counted("completed")
    world.hub.annotations = [{"path": "hello.py", "start_line": 3, "message": "the year is\nwrong"}]
    run = await world.told("check_run", check_failed(7))
    assert (run.status, run.done[-1]) == ("COMPLETED", "report")
    assert run.child("agent").result == {
        "codegen_task_id": "1",
        "codegen_task_url": "https://codegen.com/agent/trace/1",
        "status": "ACTIVE",
    }
    assert "> hello.py:3: the year is wrong" in world.agents.runs[1]["prompt"]
    (comment,) = world.comments
    assert "https://github.com/octo/hello/pull/8" in comment
    assert (counted("started") - started, counted("completed") - completed) == (1, 1)


async def test_a_failed_suite_is_given_to_an_agent_with_the_checks_that_failed(world: World) -> None:
    world.hub.check_runs = [LINT, TEST]
    run = await world.told("check_suite", suite_failed(7))
    assert run.status == "COMPLETED"
    assert run.results["findings"] == ["test: 1 test failed"]


async def test_a_check_without_a_pull_request_is_mended_without_a_comment(world: World) -> None:
    run = await world.told("check_run", check_failed())
    assert (run.status, run.skipped, world.comments) == ("COMPLETED", ["comment"], [])
    assert len(world.agents.runs) == 1


async def test_where_the_agent_gives_up_it_is_stopped_and_the_comment_deleted(world: World) -> None:
    failed = counted("failed")
    world.agents.control = AgentControl(ends="FAILED")
    run = await world.told("check_run", check_failed(7))
    assert (run.status, run.undone) == ("ROLLED_BACK", ["agent", "comment"])
    assert "https://codegen.com/agent/trace/1" in str(run.error)
    assert (world.agents.runs[1]["status"], world.comments) == ("CANCELLED", [])
    assert counted("failed") - failed == 1


async def test_an_agent_whose_beginning_was_not_answered_is_found_and_not_begun_again(world: World) -> None:
    world.agents.control = AgentControl(refuse=1, applied=True)
    run = await world.told("check_run", check_failed(7))
    assert (run.status, len(world.agents.runs)) == ("COMPLETED", 1)


async def test_without_an_organisation_no_agent_is_asked_and_it_is_said_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CODEGEN_ORG_ID")
    run = await world.told("check_run", check_failed(7))
    assert (run.status, world.comments) == ("ROLLED_BACK", [])
    assert "set CODEGEN_TOKEN and CODEGEN_ORG_ID" in str(run.error)


async def test_agents_that_are_all_busy_are_asked_later(world: World) -> None:
    world.agents.control = AgentControl(refuse=2)
    run = await world.told("check_run", check_failed(7))
    assert (run.status, run.child("agent").attempts("start")) == ("COMPLETED", 3)


@pytest.mark.parametrize("conclusion", ["success", "neutral", "cancelled", "skipped"])
async def test_a_check_that_did_not_fail_is_nobodys_task(world: World, conclusion: str) -> None:
    received = await world.sagas.receive("github", check_failed(7, conclusion=conclusion), event="check_run")
    assert received.outcome == "ignored"


# -- a push ---------------------------------------------------------------------------------------------------


async def test_a_push_to_the_main_branch_gets_a_status(world: World) -> None:
    run = await world.told("push", PUSHED)
    assert run.status == "COMPLETED"
    assert world.hub.statuses[-1]["description"] == "2 files, +10 -2"


async def test_a_new_branch_is_what_its_last_commit_changed(world: World) -> None:
    run = await world.told("push", {**PUSHED, "before": "0" * 40, "created": True})
    assert (run.status, world.states) == ("COMPLETED", ["success"])


@pytest.mark.parametrize(
    "change", [{"ref": "refs/heads/greet"}, {"ref": "refs/tags/main"}, {"deleted": True}]
)
async def test_other_pushes_are_ignored(world: World, change: dict[str, Any]) -> None:
    assert (await world.sagas.receive("github", {**PUSHED, **change}, event="push")).outcome == "ignored"


# -- what GitHub really sends ---------------------------------------------------------------------------------

ANALYSED = {
    "pull_request": {"opened", "synchronize", "reopened", "ready_for_review"},
    "check_run": {"completed"},
    "check_suite": {"completed"},
    "push": {"refs/heads/main", "refs/heads/master"},
}


def is_a_task(event: str, body: dict[str, Any]) -> bool:
    """By the table of the HTTP contract; of checks those that failed, of pushes those that leave a commit."""
    if not {body.get("action"), body.get("ref")} & ANALYSED.get(event, set()) or body.get("deleted"):
        return False
    return event not in ("check_run", "check_suite") or body[event]["conclusion"] == "failure"


async def published() -> list[tuple[str, dict[str, Any]]]:
    """Every example, and of the suites, which all ended well, those that completed once more as failed."""
    printed = await run_script("github_examples.mjs", GITHUB_WEBHOOK_SECRET="any")
    told = [loads(line) for line in printed.splitlines()]
    examples = [(each["event"], loads(b64decode(each["body"]))) for each in told]
    failed = [
        (event, {**body, "check_suite": {**body["check_suite"], "conclusion": "failure"}})
        for event, body in examples
        if event == "check_suite" and body["action"] == "completed"
    ]
    return examples + failed


async def test_every_payload_that_github_publishes_is_a_task_carried_to_its_end_or_ignored(
    world: World,
) -> None:
    tasks = set()
    for event, body in await published():
        received = await world.sagas.receive("github", body, event=event)
        expected = "triggered" if is_a_task(event, body) else "ignored"
        assert received.outcome == expected, (event, body.get("action"), received.reason)
        tasks |= {run.state.name for run in received.runs}
        assert {run.status for run in received.runs} <= {"COMPLETED"}
    assert tasks == {
        "pull_request_analysis",
        "push_analysis",
        "check_failure_analysis",
        "check_suite_failure_analysis",
    }
