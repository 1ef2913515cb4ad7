"""The shop's memory: what was asked under which key, what was answered, and what was really done."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# `effects` has no unique key on purpose: were an effect ever applied twice, it would show here.
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, operation TEXT NOT NULL, order_id TEXT NOT NULL, status INTEGER NOT NULL,
    body TEXT NOT NULL, requests INTEGER NOT NULL DEFAULT 1, answered_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY, key TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS effects_by_key ON effects (key);
CREATE TABLE IF NOT EXISTS undone (action_key TEXT PRIMARY KEY);
"""

_LEDGER = """
SELECT answers.key, operation, order_id, status, requests, answered_at,
       (SELECT count(*) FROM effects WHERE effects.key = answers.key) AS applied
FROM answers ORDER BY answers.rowid
"""


@dataclass(frozen=True)
class Request:
    """One request to do or undo something. `undoes`: the key of the action, for an undo."""

    operation: str
    key: str
    order_id: str
    amount: float = 0
    undoes: str | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


class Ledger:
    """Check and effect are one SQLite transaction, so that a kill at any moment leaves both or neither."""

    def __init__(self, file: Path, *, limit: float) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.executescript(_TABLES)

    def handle(self, request: Request) -> Answer:
        """The first answer again for a key that was seen; else decide, apply and remember."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                answer = self._repeat(request) or self._decide(request)
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
            return answer

    def entries(self) -> list[dict[str, Any]]:
        """Every key with what was answered; `applied`: how often its effect was applied."""
        with self._lock:
            rows = self._database.execute(_LEDGER)
            names = [column[0] for column in rows.description]
            return [dict(zip(names, row, strict=True)) for row in rows]

    def _repeat(self, request: Request) -> Answer | None:
        found = self._database.execute(
            "UPDATE answers SET requests = requests + 1 WHERE key = ? RETURNING status, body", (request.key,)
        ).fetchone()
        return Answer(found[0], json.loads(found[1])) if found else None

    def _decide(self, request: Request) -> Answer:
        if request.undoes is not None:
            answer = self._undo(request, request.undoes)
        elif self._has("SELECT 1 FROM undone WHERE action_key = ?", request.key):
            answer = Answer(409, {"error": "this was undone before it arrived"})
        elif request.operation == "payments/charge" and request.amount > self._limit:
            answer = Answer(
                402, {"error": f"declined: {request.amount:g} is over the limit of {self._limit:g}"}
            )
        else:
            answer = self._apply(request)
        self._database.execute(
            "INSERT INTO answers (key, operation, order_id, status, body, answered_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                request.key,
                request.operation,
                request.order_id,
                answer.status,
                json.dumps(answer.body),
                datetime.now(UTC).isoformat(),
            ),
        )
        return answer

    def _undo(self, request: Request, action: str) -> Answer:
        """An undo that comes first is remembered, so that the action is refused when it arrives."""
        self._database.execute("INSERT OR IGNORE INTO undone VALUES (?)", (action,))
        if not self._has("SELECT 1 FROM effects WHERE key = ?", action):
            return Answer(200, {"status": "nothing to undo"})
        return self._apply(request)

    def _apply(self, request: Request) -> Answer:
        self._database.execute("INSERT INTO effects (key) VALUES (?)", (request.key,))
        return Answer(200, {"status": "done", "operation": request.operation, "order_id": request.order_id})

    def _has(self, query: str, key: str) -> bool:
        return self._database.execute(query, (key,)).fetchone() is not None
