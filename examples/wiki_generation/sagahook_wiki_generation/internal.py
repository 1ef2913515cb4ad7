"""What both services have in common: who may ask, a SQLite file, and the answers that were given under a key."""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, status INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS undone (key TEXT PRIMARY KEY);
"""


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status)


class Store:
    """Check, effect and answer are one transaction, so that a kill at any moment leaves all of them or none."""

    def __init__(self, file: Path, tables: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.executescript(_TABLES + tables)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def once(self, key: str, decide: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """The first answer again for a key that was seen; refused where it was undone before it came."""
        with self.transaction() as database:
            found = database.execute("SELECT status, body FROM answers WHERE key = ?", (key,)).fetchone()
            if found is not None:
                return Answer(found["status"], json.loads(found["body"]))
            if database.execute("SELECT 1 FROM undone WHERE key = ?", (key,)).fetchone():
                return Answer(409, {"error": "this was undone before it arrived"})
            answer = decide(database)
            database.execute(
                "INSERT INTO answers (key, status, body) VALUES (?, ?, ?)",
                (key, answer.status, json.dumps(answer.body)),
            )
            return answer

    def close(self) -> None:
        self._database.close()


def undo(database: sqlite3.Connection, key: str) -> None:
    """From now on what comes under the key is refused."""
    database.execute("INSERT OR IGNORE INTO undone (key) VALUES (?)", (key,))


class Trouble(BaseModel):
    """What the next `times` requests whose `METHOD /path` contains `on` are answered, once `after` of them went well.
    applied: they did their work all the same."""

    on: str
    status: int = 503
    error: str = "told to fail"
    times: int = 1
    after: int = 0
    applied: bool = False


def internal_service(title: str, token: str) -> FastAPI:
    """A service that only answers who knows the token. `POST /control` says how the next answers go wrong; `/health`
    is for everybody."""
    app = FastAPI(title=title)
    troubles: list[Trouble] = []

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[..., Any]) -> Response:
        given = request.headers.get("X-INTERNAL-TOKEN", "")
        if request.url.path != "/health" and not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse({"error": "X-INTERNAL-TOKEN is missing or wrong"}, 401)
        trouble = _next(troubles, f"{request.method} {request.url.path}")
        if trouble is None:
            well: Response = await call_next(request)
            return well
        if trouble.applied:
            await call_next(request)
        return JSONResponse({"error": trouble.error}, trouble.status)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/control")
    async def control(trouble: Trouble) -> Trouble:
        troubles.append(trouble)
        return trouble

    return app


def _next(troubles: list[Trouble], request: str) -> Trouble | None:
    for each in troubles:
        if each.on in request and each.times > 0:
            if each.after > 0:
                each.after -= 1
                continue
            each.times -= 1
            return each
    return None
