"""The named queries of queries.sql, as functions of a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql


def load_queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg")
