"""The git service: `SAGAHOOK_INTERNAL_TOKEN=… python -m sagahook_wiki_generation.git --port 8095`

A snapshot is what a commit is: the files by their hashes, on top of the snapshot before; its id is made of that. The
newest is the project's head, and undoing it makes the one before the head again.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sagahook_wiki_generation.internal import Answer, Store, internal_service, undo

TABLES = """
CREATE TABLE IF NOT EXISTS snapshots (
    number INTEGER PRIMARY KEY, snapshot_id TEXT NOT NULL, project_id TEXT NOT NULL, author TEXT NOT NULL,
    files TEXT NOT NULL, created_by TEXT NOT NULL UNIQUE);
"""


class Entry(BaseModel):
    path: str
    sha256: str


class NewSnapshot(BaseModel):
    project_id: str
    author: str
    files: list[Entry]


class Project(BaseModel):
    project_id: str


def build_git(store: Store, token: str) -> FastAPI:
    app = internal_service("Git", token)

    @app.post("/snapshots")
    def keep(snapshot: NewSnapshot, idempotency_key: Annotated[str, Header()]) -> JSONResponse:
        return store.once(
            idempotency_key, lambda database: _keep(database, snapshot, idempotency_key)
        ).response()

    @app.post("/snapshots/undo")
    def drop(project: Project, x_compensates: Annotated[str, Header()]) -> dict[str, bool]:
        """The one that was made under this key, if it was."""
        with store.transaction() as database:
            undo(database, x_compensates)
            gone = database.execute(
                "DELETE FROM snapshots WHERE project_id = ? AND created_by = ?",
                (project.project_id, x_compensates),
            )
            return {"dropped": gone.rowcount > 0}

    @app.get("/snapshots")
    def list_snapshots(project_id: str) -> list[dict[str, Any]]:
        """The head last."""
        with store.transaction() as database:
            rows = database.execute(
                "SELECT snapshot_id, author, files FROM snapshots WHERE project_id = ? ORDER BY number",
                (project_id,),
            )
            return [{**row, "files": json.loads(row["files"])} for row in map(dict, rows)]

    return app


def _keep(database: sqlite3.Connection, snapshot: NewSnapshot, key: str) -> Answer:
    head = database.execute(
        "SELECT snapshot_id FROM snapshots WHERE project_id = ? ORDER BY number DESC LIMIT 1",
        (snapshot.project_id,),
    ).fetchone()
    files = json.dumps(sorted((entry.path, entry.sha256) for entry in snapshot.files))
    parent = head["snapshot_id"] if head else ""
    snapshot_id = sha256(f"{parent}\n{snapshot.author}\n{files}".encode()).hexdigest()[:40]
    database.execute(
        "INSERT INTO snapshots (snapshot_id, project_id, author, files, created_by) VALUES (?, ?, ?, ?, ?)",
        (snapshot_id, snapshot.project_id, snapshot.author, files, key),
    )
    return Answer(201, {"snapshot_id": snapshot_id, "parent": parent or None})


def main() -> None:
    parser = argparse.ArgumentParser(description="The git service")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8095)
    parser.add_argument("--db", type=Path, default=Path("git.db"))
    options = parser.parse_args()
    token = os.environ.get("SAGAHOOK_INTERNAL_TOKEN")
    if not token:
        parser.error("set SAGAHOOK_INTERNAL_TOKEN to what callers have to send as X-INTERNAL-TOKEN")
    app = build_git(Store(options.db, TABLES), token)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
