"""The named queries of the .sql files, as functions of a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql

SCHEMA = "tracker"


def load_queries(file: str = "queries.sql", schema: str = SCHEMA) -> Any:
    """schema: where the tables are that the file calls `tracker.…`; other than that, of views that do not serve yet."""
    sql = Path(__file__).with_name(file).read_text()
    return aiosql.from_str(sql.replace(f"{SCHEMA}.", f"{schema}."), "asyncpg")
