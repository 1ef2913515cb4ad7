"""What `sagahook examples run github_orchestrator` plays."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is

_PACKAGE = "sagahook_github_orchestrator"
_WEBHOOK_SECRET = "It's a Secret to Everybody"  # noqa: S105  # of servers that live as long as the example
_TOKEN, _ORG = "made-up", "1"
_REPOSITORY = {"id": 1, "full_name": "octo/hello", "html_url": "https://github.com/octo/hello"}


def _stage(place: Place) -> Stage:
    def server(name: str) -> Server:
        arguments = ("--port", str(place.port(name)), "--token", _TOKEN)
        return Server(name, f"{_PACKAGE}.stand_in_{name}", arguments, ready="/_seen")

    return Stage(
        f"{_PACKAGE}.app",
        (server("github"), server("codegen")),
        {
            "GITHUB_WEBHOOK_SECRET": _WEBHOOK_SECRET,
            "GITHUB_API_URL": place.url("github"),
            "GITHUB_TOKEN": _TOKEN,
            "GITHUB_CHECKS_EVERY": "0.2",
            "CODEGEN_API_URL": place.url("codegen"),
            "CODEGEN_TOKEN": _TOKEN,
            "CODEGEN_ORG_ID": _ORG,
            "CODEGEN_EVERY": "0.2",
        },
    )


async def pull_request_is_analysed(world: World, narrator: Narrator) -> None:
    await _control(world, files=_FILES, check_runs=[_check("lint"), _check("test")])
    posted = await _sent(world, narrator, "pull_request", _opened(7, "a" * 40))
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "completed")
    seen = await world.get(world.url("github") + "/_seen")
    expect(len(seen["comments"]) == 1, "the pull request has one comment")
    states = [status["state"] for status in seen["statuses"]]
    expect(states == ["pending", "success"], f"its status was pending, then success, not {states}")
    narrator.seen(f"GitHub has a comment ({seen['comments'][0]['html_url']}), and the status success")


async def comment_is_refused(world: World, narrator: Narrator) -> None:
    refusal = {"on": "POST /repos/octo/hello/issues/8", "status": 403, "message": "the issue is locked"}
    await _control(world, trouble=[refusal])
    posted = await _sent(world, narrator, "pull_request", _opened(8, "b" * 40))
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "failed", error="the issue is locked")
    seen = await world.get(world.url("github") + "/_seen")
    states = [status["state"] for status in seen["statuses"] if status["sha"] == "b" * 40]
    expect(states == ["pending", "error"], f"the status was set back, not {states}")
    narrator.seen("the commit's status says that the analysis was called off")


async def failed_check_is_mended(world: World, narrator: Narrator) -> None:
    found = {"path": "hello.py", "start_line": 3, "message": "the year is wrong"}
    await _control(world, annotations=[found])
    posted = await _sent(world, narrator, "check_run", _failed_check(7, "a" * 40))
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "completed")
    tasks = await world.until(
        "/api/v1/tasks?repository=octo/hello&task_type=codegen_trigger",
        lambda tasks: tasks and tasks[0]["codegen_task_url"],
        "reader",
    )
    narrator.seen(f"GET /api/v1/tasks has the agent's task: {tasks[0]['codegen_task_url']}")
    seen = await world.get(world.url("github") + "/_seen")
    told = [comment for comment in seen["comments"] if tasks[0]["codegen_task_url"] in comment["body"]]
    expect(len(told) == 1, "the pull request is told of the agent's task")
    narrator.seen("the comment on the pull request names it, and the pull request that mends it")


async def installation_is_recorded(world: World, narrator: Narrator) -> None:
    posted = await _sent(world, narrator, "installation", {"action": "created", "installation": {"id": 5}})
    [event] = await world.until(
        "/api/v1/webhooks/events?event_type=installation", lambda events: events, "reader"
    )
    status = await world.get(f"/webhooks/github/status/{posted.correlation_id}?wait=30")
    expect(status["status"] == "ignored", f"no saga wants it, not {status['status']}")
    narrator.seen(f"GET /api/v1/webhooks/events has it, as {event['event_type']}; no saga started")


async def _sent(world: World, narrator: Narrator, event: str, body: dict[str, Any]) -> Posted:
    """As GitHub would: signed, with a delivery id."""
    content = json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid4()),
        "X-Hub-Signature-256": "sha256="
        + hmac.new(_WEBHOOK_SECRET.encode(), content, hashlib.sha256).hexdigest(),
    }
    narrator.happened(0, "plain", f"POST /api/v1/webhooks/github: {event} {body['action']}, signed")
    at, started = time.time(), time.perf_counter()
    async with world.http.post(
        f"{world.api}/api/v1/webhooks/github", data=content, headers=headers
    ) as response:
        response.raise_for_status()
        answer = await response.json()
    taken = time.perf_counter() - started
    narrator.seen(f"200 after {taken * 1000:.0f} ms, {answer['result']['status']}: Kafka holds it durably")
    return Posted("github", body, at, taken, answer["correlation_id"], answer["event_id"])


async def _control(world: World, **wanted: Any) -> None:
    await world.send("POST", world.url("github") + "/_control", wanted)


def _opened(number: int, sha: str) -> dict[str, Any]:
    pull = {"number": number, "title": "Say hello", "head": {"ref": "greet", "sha": sha}}
    return {"action": "opened", "repository": _REPOSITORY, "pull_request": pull}


def _failed_check(number: int, sha: str) -> dict[str, Any]:
    run = {
        "id": 21,
        "name": "test",
        "conclusion": "failure",
        "head_sha": sha,
        "html_url": "https://github.com/octo/hello/runs/21",
        "check_suite": {"head_branch": "greet"},
        "pull_requests": [{"number": number}],
    }
    return {"action": "completed", "repository": _REPOSITORY, "check_run": run}


def _check(name: str) -> dict[str, Any]:
    return {"name": name, "status": "completed", "conclusion": "success", "output": {"title": None}}


_FILES = [
    {"filename": "hello.py", "additions": 9, "deletions": 1, "changes": 10},
    {"filename": "README.md", "additions": 2, "deletions": 0, "changes": 2},
]

EXAMPLE = Example(
    "A GitHub App: pull requests are analysed, failed checks are given to an agent; what fails is undone.",
    _stage,
    scenes=(
        Scene("A pull request gets a comment and a status", pull_request_is_analysed),
        Scene("The comment is refused, and the status set back", comment_is_refused),
        Scene("A failed check is given to an agent, and the pull request told", failed_check_is_mended),
        Scene("An installation is recorded, and starts nothing", installation_is_recorded),
    ),
    poke="""\
curl {github}/_seen
curl {codegen}/_seen
curl -H 'Authorization: Bearer {reader}' '{api}/api/v1/tasks?repository=octo/hello'
export GITHUB_WEBHOOK_SECRET="It's a Secret to Everybody"
sagahook send github --sign --event ping --url {api} '{{"zen": "Keep it logically awesome."}}'""",
)
