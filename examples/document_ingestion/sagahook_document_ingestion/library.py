"""A library that can be searched: `python -m sagahook_document_ingestion.library --port 8095`

Every request says what should be so afterwards, so that asking twice is asking once.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Text(BaseModel):
    text: str


class Passages(BaseModel):
    passages: list[str]


@dataclass
class Document:
    text: str
    passages: list[str] = field(default_factory=list)
    terms: dict[str, set[int]] = field(default_factory=dict)
    published: bool = False


def build_library() -> FastAPI:
    library = FastAPI(title="A library")
    documents: dict[str, Document] = {}

    def known(document_id: str) -> Document:
        if document_id not in documents:
            raise HTTPException(404, f"there is no document {document_id}")
        return documents[document_id]

    @library.put("/documents/{document_id}/text")
    async def keep(document_id: str, said: Text) -> dict[str, int]:
        documents[document_id] = Document(said.text)
        return {"characters": len(said.text)}

    @library.get("/documents/{document_id}/text")
    async def text(document_id: str) -> dict[str, str]:
        return {"text": known(document_id).text}

    @library.put("/documents/{document_id}/passages")
    async def split(document_id: str, said: Passages) -> dict[str, int]:
        known(document_id).passages = said.passages
        return {"passages": len(said.passages)}

    @library.post("/documents/{document_id}/index")
    async def index(document_id: str) -> dict[str, int]:
        document = known(document_id)
        document.terms = {}
        for number, passage in enumerate(document.passages):
            for term in _terms(passage):
                document.terms.setdefault(term, set()).add(number)
        return {"terms": len(document.terms)}

    @library.post("/documents/{document_id}/publish")
    async def publish(document_id: str) -> dict[str, str]:
        known(document_id).published = True
        return {"document_id": document_id}

    @library.delete("/documents/{document_id}")
    async def forget(document_id: str) -> dict[str, bool]:
        return {"forgotten": documents.pop(document_id, None) is not None}

    @library.get("/documents")
    async def contents() -> list[str]:
        return list(documents)

    @library.get("/search")
    async def search(q: str) -> list[dict[str, Any]]:
        return [
            {"document_id": document_id, "passage": document.passages[number]}
            for document_id, document in documents.items()
            if document.published
            for number in sorted(set.intersection(*(document.terms.get(term, set()) for term in _terms(q))))
        ]

    return library


def _terms(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower()) or [""]


def main() -> None:
    parser = argparse.ArgumentParser(description="A library that can be searched")
    parser.add_argument("--port", type=int, default=8095)
    options = parser.parse_args()
    uvicorn.run(build_library(), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
