"""The saga: a document is read, split into passages, indexed and published. After each it says how far it is."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, http_request, step, trigger

SOURCE = "document_uploaded"
LARGEST = 5_000_000
"""Bytes of a file."""
_PASSAGE_WORDS = 60
_STUBBORN = Retry(max=12, initial=0.2, cap=5)


class DocumentIngestion(Saga):
    """One for each upload. `webhook_url` is an attribute, so that the endpoint of that URL hears of this saga alone."""

    attributes = {"source_type": "source_type", "filename": "filename", "webhook_url": "webhook_url"}

    @trigger(source=SOURCE, idempotency_key="document_id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {name: event[name] for name in ("document_id", "source_type", "filename", "webhook_url")}

    @step(timeout=60)
    async def read(self, ctx: StepContext) -> dict[str, int]:
        """Texts are larger than a step's result may be, so the library keeps what each step makes of them."""
        file = await http_request("GET", _gateway("/files/{document_id}")).ask(ctx, limit=LARGEST)
        words = READERS[str(ctx.context["source_type"])](file.text).split()
        if not words:
            raise PermanentError(f"{ctx.context['filename']} has no text in it")
        await _library("PUT", "/text", {"text": " ".join(words)}).ask(ctx)
        ctx.progress(0.25, f"{len(words):,} words read")
        return {"words": len(words)}

    @compensate("read", retry=_STUBBORN)
    async def forget(self, ctx: StepContext, read: Any) -> None:
        await _library("DELETE", "").ask(ctx)

    @step(timeout=60)
    async def split(self, ctx: StepContext) -> dict[str, int]:
        text = (await _library("GET", "/text").ask(ctx, limit=LARGEST)).json["text"].split()
        passages = [" ".join(text[at : at + _PASSAGE_WORDS]) for at in range(0, len(text), _PASSAGE_WORDS)]
        await _library("PUT", "/passages", {"passages": passages}).ask(ctx)
        ctx.progress(0.5, f"{len(passages):,} passages made")
        return {"passages": len(passages)}

    @step(timeout=300)
    async def index(self, ctx: StepContext) -> Any:
        indexed = (await _library("POST", "/index").ask(ctx)).json
        ctx.progress(0.75, f"{indexed['terms']:,} terms indexed")
        return indexed

    @step
    async def publish(self, ctx: StepContext) -> Any:
        """Only now it is found."""
        return (await _library("POST", "/publish").ask(ctx)).json


def _markdown(text: str) -> str:
    return re.sub(r"[#*_`>\[\]]|\(https?://[^)]*\)", " ", text)


def _table(text: str) -> str:
    return "\n".join(" ".join(row) for row in csv.reader(io.StringIO(text)))


READERS: dict[str, Callable[[str], str]] = {"text": str, "markdown": _markdown, "csv": _table}
"""How the words of a file are found, by its source_type."""


def _gateway(path: str) -> str:
    return os.environ.get("GATEWAY_URL", "http://127.0.0.1:8094") + path


def _library(method: str, path: str, body: Any = None) -> Any:
    url = os.environ.get("LIBRARY_URL", "http://127.0.0.1:8095")
    return http_request(method, f"{url}/documents/{{document_id}}{path}", json=body)
