"""What `sagahook examples run document_ingestion` plays."""

from __future__ import annotations

import time
from typing import Any

import aiohttp

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.scenes import Narrator, Scene, expect, follow, status_is
from sagahook_document_ingestion.app import SOURCE

KEY = "documents-key-of-this-example"
_TEXT = "# On sagas\n\nA saga is a sequence of steps; each *step* can be undone by its compensation.\n" * 40


def _stage(place: Place) -> Stage:
    files = ("--files", str(place.folder / "files"))
    secrets = {
        "DOCUMENTS_KEY": KEY,
        "SAGAHOOK_INTERNAL_TOKEN": place.secret,
        "WEBHOOK_SECRET": place.secret,
        "RECEIVER_SECRET": place.secret,
    }
    return Stage(
        "sagahook_document_ingestion.app",
        (
            _server(place, "gateway", "sagahook_document_ingestion.gateway", "/health", *files, **secrets),
            _server(place, "library", "sagahook_document_ingestion.library", "/documents"),
            _server(place, "receiver", "sagahook_orders.receiver", "/received", **secrets),
        ),
        {
            "GATEWAY_URL": place.url("gateway"),
            "LIBRARY_URL": place.url("library"),
            "SAGAHOOK_INTERNAL_HOSTS": "127.0.0.1",
            "SAGAHOOK_INTERNAL_TOKEN": place.secret,
        },
    )


def _server(place: Place, name: str, module: str, ready: str, *more: str, **env: str) -> Server:
    arguments = ("--port", str(place.port(name)), *more)
    return Server(name, module, arguments, env, ready, after_stack=True)


async def file_is_ingested(world: World, narrator: Narrator) -> None:
    posted, task_id = await _uploaded(world, narrator, "sagas.md", _TEXT.encode())
    await follow(world, narrator, posted)
    expect(await status_is(world, narrator, posted, "completed") == task_id, "the task is the saga that ran")
    await _status_and_history_are(world, narrator, task_id)
    await _webhooks_are(world, narrator, task_id, "started", "progress", "progress", "progress", "completed")
    found = await world.get(f"{world.url('library')}/search?q=compensation")
    expect(found and found[0]["document_id"] == posted.body["document_id"], "the library finds the document")
    narrator.seen(f"a search for 'compensation' finds {len(found)} of its passages")


async def file_cannot_be_read(world: World, narrator: Narrator) -> None:
    posted, task_id = await _uploaded(world, narrator, "empty.md", b"# **\n")
    await follow(world, narrator, posted)
    await status_is(world, narrator, posted, "failed", error="no text in it")
    last = (await _webhooks_are(world, narrator, task_id, "started", "failed"))[-1]
    expect("no text in it" in last["data"]["error"], f"the webhook says why, not {last['data'].get('error')}")
    expect(posted.body["document_id"] not in await _library(world), "the library has forgotten the document")
    narrator.seen("the library keeps nothing of it")


async def upload_is_refused(world: World, narrator: Narrator) -> None:
    before = await _library(world)
    for status, what, key, parts in (
        (401, "no key", None, {"source_type": "text", "webhook_url": _hooks(world)}),
        (403, "another key", "guessed", {"source_type": "text", "webhook_url": _hooks(world)}),
        (400, "no webhook_url", KEY, {"source_type": "text"}),
        (
            400,
            "a source_type that nobody reads",
            KEY,
            {"source_type": "hologram", "webhook_url": _hooks(world)},
        ),
    ):
        async with await _upload(world, key, parts, "a.txt", b"a text") as answer:
            said = await answer.json()
        expect(answer.status == status, f"{what} is answered {status}, not {answer.status}")
        narrator.seen(f"{what}: {status}, {said['error']}")
    expect(await _library(world) == before, "nothing of it was begun")


async def _uploaded(world: World, narrator: Narrator, filename: str, content: bytes) -> tuple[Posted, str]:
    """What was handed to sagahook, and the task's id."""
    narrator.happened(0, "plain", f"POST /api/v1/ingest/file: {filename}, {len(content):,} bytes")
    at, started = time.time(), time.perf_counter()
    parts = {"source_type": "markdown", "webhook_url": _hooks(world)}
    async with await _upload(world, KEY, parts, filename, content) as answer:
        taken = time.perf_counter() - started
        said = await answer.json()
    expect(answer.status == 202, f"the file is accepted, not answered {answer.status}: {said}")
    narrator.seen(f"202 after {taken * 1000:.0f} ms, task {said['task_id']}")
    return Posted(SOURCE, said, at, taken, said["correlation_id"], said["event_id"]), said["task_id"]


async def _upload(
    world: World, key: str | None, parts: dict[str, str], filename: str, content: bytes
) -> aiohttp.ClientResponse:
    form = aiohttp.FormData(parts)
    form.add_field("file", content, filename=filename)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await world.http.post(f"{world.url('gateway')}/api/v1/ingest/file", data=form, headers=headers)


async def _status_and_history_are(world: World, narrator: Narrator, task_id: str) -> None:
    status = await world.get(f"/api/v1/status/{task_id}", role="reader")
    expect((status["status"], status["progress"]) == ("completed", 1), f"it is completed, not {status}")
    narrator.seen(f"GET /api/v1/status/{task_id} says completed, progress 1")
    history = (await world.get(f"/api/v1/status/{task_id}/history", role="reader"))["history"]
    told = [(entry["progress"], entry["message"]) for entry in reversed(history) if entry["message"]]
    for mark in (0.25, 0.5, 0.75):
        expect(
            mark in [progress for progress, _ in told],
            f"the history has the progress {mark}, not only {told}",
        )
    narrator.seen("its history: " + "; ".join(f"{progress:.0%} {message}" for progress, message in told))


async def _webhooks_are(
    world: World, narrator: Narrator, task_id: str, *statuses: str
) -> list[dict[str, Any]]:
    """The webhooks about the task have come, in this order, each verified."""

    def about_it(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
        expect(all(webhook["verified"] for webhook in received), "every webhook's signature fits")
        events = [webhook["event"] for webhook in received]
        return [event for event in events if event.get("data", {}).get("task_id") == task_id]

    received = await world.until(
        f"{world.url('receiver')}/received", lambda received: len(about_it(received)) >= len(statuses)
    )
    webhooks = about_it(received)
    came = [webhook["data"]["status"] for webhook in webhooks]
    expect(came == list(statuses), f"the webhooks are {', '.join(statuses)}, not {', '.join(came)}")
    shown = [f"{each['event_type']} {each['data'].get('progress', '')}".rstrip() for each in webhooks]
    narrator.seen(f"webhook_url got, signed: {', '.join(shown)}")
    return webhooks


async def _library(world: World) -> list[str]:
    documents: list[str] = await world.get(f"{world.url('library')}/documents")
    return documents


def _hooks(world: World) -> str:
    return f"{world.url('receiver')}/hooks"


EXAMPLE = Example(
    "A file is uploaded, read, split, indexed and published; its sender's URL is told how far it is.",
    _stage,
    scenes=(
        Scene(
            "A file is ingested, and its sender is told at a quarter, half and three quarters",
            file_is_ingested,
        ),
        Scene(
            "A file has no text in it: what was begun is undone, and the sender told why", file_cannot_be_read
        ),
        Scene("Uploads that are wrong are refused before anything begins", upload_is_refused),
    ),
    poke=f"""\
curl -X POST {{gateway}}/api/v1/ingest/file -H 'Authorization: Bearer {KEY}' \\
     -F source_type=text -F file=@README.md -F webhook_url={{receiver}}/hooks
curl {{receiver}}/received
curl {{api}}/api/v1/status/TASK_ID -H 'Authorization: Bearer {{reader}}'
curl {{api}}/api/v1/status/TASK_ID/history -H 'Authorization: Bearer {{reader}}'
curl '{{library}}/search?q=saga'""",
)
