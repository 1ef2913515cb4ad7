"""The document ingestion example: its saga in memory beside a real library, and its gateway over real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from sagahook.saga.http import close_sessions
from sagahook.testing import SagaTest
from sagahook_document_ingestion.app import LARGEST, DocumentIngestion
from sagahook_document_ingestion.gateway import Gateway, build_gateway
from sagahook_document_ingestion.library import build_library
from sagahook_schemas.identity import saga_id
from tests.tracker_harness import serving

KEY, TOKEN = "a-clients-key", "an-internal-token"
PARTS = {"source_type": "text", "webhook_url": "http://127.0.0.1:9/hooks"}


@dataclass
class Sagahook:
    """Stands where sagahook's API is, and keeps what it was asked."""

    url: str
    endpoints: list[dict[str, object]]
    webhooks: list[dict[str, str]]


@dataclass
class Served:
    sagahook: Sagahook
    gateway: str
    library: str
    http: aiohttp.ClientSession

    async def upload(
        self, content: bytes, parts: dict[str, str] = PARTS, key: str | None = KEY
    ) -> tuple[int, dict[str, Any]]:
        form = aiohttp.FormData(parts)
        form.add_field("file", content, filename="a.txt")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{self.gateway}/api/v1/ingest/file"
        async with self.http.post(url, data=form, headers=headers) as answer:
            return answer.status, await answer.json()

    async def found(self, words: str) -> int:
        async with self.http.get(f"{self.library}/search", params={"q": words}) as answer:
            return len(await answer.json())


@pytest_asyncio.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    sagahook = Sagahook("", [], [])
    running = [await _serve(_api(sagahook))]
    sagahook.url = _url(running[0])
    gateway = Gateway(sagahook.url, "admin", KEY, TOKEN, "whsec_c2VjcmV0", tmp_path / "files")
    running.append(await _serve(build_gateway(gateway)))
    async with serving(build_library()) as library, aiohttp.ClientSession() as http:
        monkeypatch.setenv("GATEWAY_URL", _url(running[1]))
        monkeypatch.setenv("LIBRARY_URL", library)
        monkeypatch.setenv("SAGAHOOK_INTERNAL_TOKEN", TOKEN)
        monkeypatch.setenv("SAGAHOOK_INTERNAL_HOSTS", "127.0.0.1")
        await close_sessions()  # the next call reads these settings
        yield Served(sagahook, _url(running[1]), library, http)
        await close_sessions()
    for each in reversed(running):
        await each.cleanup()


def _api(sagahook: Sagahook) -> web.Application:
    async def endpoint(request: web.Request) -> web.Response:
        sagahook.endpoints.append(await request.json())
        return web.json_response({}, status=201)

    async def webhook(request: web.Request) -> web.Response:
        sagahook.webhooks.append(await request.json())
        accepted = {
            "status": "accepted",
            "source": "document_uploaded",
            "message": "",
            "correlation_id": "c-1",
        }
        return web.json_response({**accepted, "event_id": "e-1"}, status=202)

    app = web.Application()
    app.router.add_post("/api/v1/endpoints", endpoint)
    app.router.add_post("/webhooks/document_uploaded", webhook)
    return app


async def _serve(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def _url(runner: web.AppRunner) -> str:
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_an_upload_is_answered_with_the_id_of_the_saga_that_it_starts(served: Served) -> None:
    status, said = await served.upload(b"a text")
    assert status == 202
    assert said["task_id"] == saga_id("document_uploaded", "document_ingestion", said["document_id"])
    assert served.sagahook.webhooks == [{"document_id": said["document_id"], "filename": "a.txt", **PARTS}]


async def test_its_webhook_url_is_made_an_endpoint_of_this_saga_alone(served: Served) -> None:
    await served.upload(b"a text")
    (endpoint,) = served.sagahook.endpoints
    assert (endpoint["url"], endpoint["payload_format"]) == (PARTS["webhook_url"], "task")
    assert endpoint["filter"] == 'attributes.webhook_url == "http://127.0.0.1:9/hooks"'


@pytest.mark.parametrize(
    ("parts", "key", "status", "why"),
    [
        (PARTS, None, 401, "show a key"),
        (PARTS, "guessed", 403, "will not do"),
        ({"source_type": "text"}, KEY, 400, "missing: webhook_url"),
        ({**PARTS, "source_type": "hologram"}, KEY, 400, "not 'hologram'"),
        ({**PARTS, "webhook_url": "ftp://host/x"}, KEY, 400, "must be http"),
    ],
)
async def test_what_is_wrong_is_refused_and_handed_to_nobody(
    served: Served, parts: dict[str, str], key: str | None, status: int, why: str
) -> None:
    answered, said = await served.upload(b"a text", parts, key)
    assert (answered, said["status_code"]) == (status, status), said
    assert why in said["error"]
    assert served.sagahook.webhooks == []


async def test_a_file_that_is_too_large_is_refused_and_not_kept(served: Served, tmp_path: Path) -> None:
    assert (await served.upload(b"x" * (LARGEST + 1)))[0] == 413
    assert list((tmp_path / "files").iterdir()) == []


async def test_a_file_is_given_to_the_saga_and_to_nobody_else(served: Served) -> None:
    document = (await served.upload(b"a text"))[1]["document_id"]
    async with served.http.get(f"{served.gateway}/files/{document}") as answer:
        assert answer.status == 401
    async with served.http.get(
        f"{served.gateway}/files/..%2Fkeys", headers={"X-INTERNAL-TOKEN": TOKEN}
    ) as answer:
        assert answer.status == 404


async def test_a_document_is_found_once_it_is_published_and_progress_was_said(served: Served) -> None:
    await served.upload(b"The quick brown fox. " * 30)
    world = SagaTest(DocumentIngestion)
    run = (await world.receive("document_uploaded", served.sagahook.webhooks[0])).run
    assert (run.status, run.results["read"], run.results["split"]) == (
        "COMPLETED",
        {"words": 120},
        {"passages": 2},
    )
    said = [event.data["progress"] for event in run.events if event.kind == "saga.progressed"]
    assert said == [0.25, 0.5, 0.75]
    assert await served.found("quick fox") == 2


async def test_a_file_that_cannot_be_indexed_leaves_nothing_in_the_library(served: Served) -> None:
    await served.upload(b"some words")
    world = SagaTest(DocumentIngestion)
    world.fail("index", RuntimeError("the disk is full"))
    run = (await world.receive("document_uploaded", served.sagahook.webhooks[0])).run
    assert (run.status, run.undone) == ("ROLLED_BACK", ["read"])
    async with served.http.get(f"{served.library}/documents") as answer:
        assert await answer.json() == []


@pytest.mark.parametrize(
    ("source_type", "content", "words"),
    [("markdown", b"# A *title*\n[here](https://x.example)", 3), ("csv", b'a,"b c"\nd,e', 5)],
)
async def test_words_are_found_by_the_type_of_the_source(
    served: Served, source_type: str, content: bytes, words: int
) -> None:
    await served.upload(content, {**PARTS, "source_type": source_type})
    run = (await SagaTest(DocumentIngestion).receive("document_uploaded", served.sagahook.webhooks[0])).run
    assert run.results["read"] == {"words": words}
