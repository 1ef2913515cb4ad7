"""The filesystem service: `SAGAHOOK_INTERNAL_TOKEN=… python -m sagahook_wiki_generation.filesystem --port 8094`

A file is created once under its Idempotency-Key, and deleted by that key, so that nobody deletes what somebody else
created. `PUT /locks` keeps a path from being deleted, as an open file would be.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field

from sagahook_wiki_generation.internal import Answer, Store, internal_service, undo

TABLES = """
CREATE TABLE IF NOT EXISTS files (
    project_id TEXT NOT NULL, path TEXT NOT NULL, content TEXT NOT NULL, created_by TEXT NOT NULL UNIQUE,
    PRIMARY KEY (project_id, path));
CREATE TABLE IF NOT EXISTS locks (path TEXT PRIMARY KEY);
"""


def _below(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("a path is below its project: no slash at its beginning, and no . or ..")
    return path


Relative = Annotated[str, Field(max_length=500), AfterValidator(_below)]


class NewFile(BaseModel):
    project_id: str
    path: Relative
    content: str


class Doomed(BaseModel):
    path: str
    created_by: str


class Deletion(BaseModel):
    project_id: str
    files: list[Doomed] = Field(max_length=100)


def build_filesystem(store: Store, token: str) -> FastAPI:
    app = internal_service("Filesystem", token)

    @app.post("/files")
    def create(file: NewFile, idempotency_key: Annotated[str, Header()]) -> JSONResponse:
        return store.once(
            idempotency_key, lambda database: _create(database, file, idempotency_key)
        ).response()

    @app.post("/files/batch-delete")
    def batch_delete(deletion: Deletion) -> dict[str, Any]:
        """Each on its own: that one cannot be deleted keeps no other. Deleting again changes nothing, so there is no
        key."""
        with store.transaction() as database:
            refused = [
                each.path for each in deletion.files if not _delete(database, deletion.project_id, each)
            ]
        return {"refused": [{"path": path, "error": "it is locked"} for path in refused]}

    @app.get("/files")
    def list_files(project_id: str) -> list[str]:
        with store.transaction() as database:
            rows = database.execute(
                "SELECT path FROM files WHERE project_id = ? ORDER BY path", (project_id,)
            )
            return [row["path"] for row in rows]

    @app.put("/locks")
    def lock(paths: list[str]) -> list[str]:
        """Only these cannot be deleted from now on."""
        with store.transaction() as database:
            database.execute("DELETE FROM locks")
            database.executemany("INSERT INTO locks VALUES (?)", [(path,) for path in paths])
        return paths

    return app


def _create(database: sqlite3.Connection, file: NewFile, key: str) -> Answer:
    there = database.execute(
        "SELECT 1 FROM files WHERE project_id = ? AND path = ?", (file.project_id, file.path)
    ).fetchone()
    if there:
        return Answer(409, {"error": f"{file.path} exists"})
    database.execute("INSERT INTO files VALUES (?, ?, ?, ?)", (file.project_id, file.path, file.content, key))
    return Answer(201, {"path": file.path, "sha256": sha256(file.content.encode()).hexdigest()})


def _delete(database: sqlite3.Connection, project_id: str, doomed: Doomed) -> bool:
    """Whether the file is not there any more, or never was."""
    undo(database, doomed.created_by)
    there = database.execute("SELECT 1 FROM files WHERE created_by = ?", (doomed.created_by,)).fetchone()
    locked = database.execute("SELECT 1 FROM locks WHERE path = ?", (doomed.path,)).fetchone()
    if there and locked:
        return False
    database.execute(
        "DELETE FROM files WHERE project_id = ? AND created_by = ?", (project_id, doomed.created_by)
    )
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="The filesystem service")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8094)
    parser.add_argument("--db", type=Path, default=Path("files.db"))
    options = parser.parse_args()
    token = os.environ.get("SAGAHOOK_INTERNAL_TOKEN")
    if not token:
        parser.error("set SAGAHOOK_INTERNAL_TOKEN to what callers have to send as X-INTERNAL-TOKEN")
    app = build_filesystem(Store(options.db, TABLES), token)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
