"""The API that files are uploaded to: `python -m sagahook_document_ingestion.gateway --port 8094 --files DIR`

It keeps the file, makes sure that its sender's URL is an endpoint, and hands a webhook to sagahook: `SAGAHOOK_URL` and
`SAGAHOOK_ADMIN_KEY` say where, and as whom it may make endpoints. Clients show `DOCUMENTS_KEY`, the saga shows
`SAGAHOOK_INTERNAL_TOKEN`, and `WEBHOOK_SECRET` signs what is sent to webhook_url.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from aiohttp import ClientError, ClientSession, web

from sagahook.client import AsyncClient, BadRequest, SagahookError, Unavailable, Unreachable
from sagahook_document_ingestion.app import SOURCE, DocumentIngestion
from sagahook_document_ingestion.upload import Refused, Upload, read_upload
from sagahook_schemas.identity import saga_id

EVENTS = ("task_started", "task_progress", "task_completed", "task_failed")


@dataclass
class Gateway:
    """files: where uploaded files lie, by their document's id."""

    url: str
    admin_key: str = field(repr=False)
    client_key: str = field(repr=False)
    internal_token: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    files: Path

    async def ingest(self, request: web.Request) -> web.Response:
        """`POST /api/v1/ingest/file`: 202 once the log holds it durably, with the id that every status is asked by."""
        _let_in(request.headers.get("Authorization"), f"Bearer {self.client_key}")
        document_id = str(uuid4())
        file = self.files / document_id
        try:
            upload = await read_upload(request, file)
            await self._tell(upload.webhook_url)
            sent = await self._hand_over(document_id, upload, request.headers.get("X-Correlation-ID"))
        except Refused:  # after any other failure it may have been handed over, and the saga reads the file
            file.unlink(missing_ok=True)
            raise
        task_id = saga_id(SOURCE, DocumentIngestion.definition.name, document_id)
        answer = {"status": "accepted", "task_id": task_id, "document_id": document_id, **sent}
        return web.json_response(answer, status=202)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """`GET /files/{document_id}`, for the saga."""
        _let_in(request.headers.get("X-INTERNAL-TOKEN"), self.internal_token)
        try:
            file = self.files / str(UUID(request.match_info["document_id"]))
        except ValueError:
            raise Refused(404, "a document's id is a UUID") from None
        if not file.exists():
            raise Refused(404, f"there is no document {file.name}")
        return web.FileResponse(file, headers={"Content-Type": "text/plain; charset=utf-8"})

    async def _tell(self, url: str) -> None:
        """The URL hears of the sagas that name it. An endpoint that is there already stays as it is."""
        endpoint = {
            "id": f"documents-{uuid5(NAMESPACE_URL, url)}",
            "url": url,
            "event_types": EVENTS,
            "sagas": [DocumentIngestion.definition.name],
            "filter": f"attributes.webhook_url == {json.dumps(url)}",
            "payload_format": "task",
            "retry_policy": "task",
            "ordered": True,
            "secret": self.webhook_secret,
        }
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        async with (
            ClientSession(headers=headers) as http,
            http.post(f"{self.url}/api/v1/endpoints", json=endpoint) as answer,
        ):
            if answer.status == 400:
                raise Refused(400, f"webhook_url: {(await answer.json())['error']}")
            if answer.status not in (201, 409):
                raise Refused(503, f"endpoints cannot be made at present ({answer.status})")

    async def _hand_over(
        self, document_id: str, upload: Upload, correlation_id: str | None
    ) -> dict[str, str]:
        event = {"document_id": document_id, **vars(upload)}
        async with AsyncClient(self.url) as client:
            sent = await client.send(SOURCE, event, correlation_id=correlation_id)
        return {"correlation_id": sent.correlation_id, "event_id": sent.event_id}


def _let_in(shown: str | None, wanted: str) -> None:
    if shown is None:
        raise Refused(401, "show a key: Authorization: Bearer KEY")
    if not hmac.compare_digest(shown.encode(), wanted.encode()):
        raise Refused(403, "this key will not do")


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal has the same body; what sagahook or its Kafka cannot take now is 503."""
    try:
        return await handler(request)
    except Refused as refused:
        status, why = refused.status, str(refused)
    except BadRequest as wrong:
        status, why = 400, str(wrong)
    except (Unavailable, Unreachable, ClientError) as away:
        status, why = 503, f"it cannot be taken at present: {away}"
    except SagahookError as problem:
        status, why = 502, str(problem)
    body = {"error": why, "status_code": status, "path": request.path}
    headers = {"Retry-After": "5"} if status == 503 else {}
    return web.json_response(body, status=status, headers=headers)


def build_gateway(gateway: Gateway) -> web.Application:
    app = web.Application(middlewares=[_errors], client_max_size=0)
    app.router.add_post("/api/v1/ingest/file", gateway.ingest)
    app.router.add_get("/files/{document_id}", gateway.file)
    app.router.add_get("/health", _health)
    app.cleanup_ctx.append(lambda app: _folder(gateway.files))
    return app


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


async def _folder(files: Path) -> AsyncIterator[None]:
    files.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once, before the first request
    yield


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes files, and hands them to sagahook")
    parser.add_argument("--port", type=int, default=8094)
    parser.add_argument("--files", type=Path, default=Path("files"), help="where uploaded files are kept")
    options = parser.parse_args()
    told: dict[str, Any] = {
        "url": os.environ.get("SAGAHOOK_URL", "http://127.0.0.1:8080"),
        "admin_key": os.environ["SAGAHOOK_ADMIN_KEY"],
        "client_key": os.environ["DOCUMENTS_KEY"],
        "internal_token": os.environ["SAGAHOOK_INTERNAL_TOKEN"],
        "webhook_secret": os.environ["WEBHOOK_SECRET"],
    }
    gateway = Gateway(**told, files=options.files)
    web.run_app(build_gateway(gateway), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
