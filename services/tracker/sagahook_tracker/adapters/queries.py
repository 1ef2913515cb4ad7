"""The named queries of the .sql files, as functions of a connection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiosql

from sagahook_schemas.base import JsonValue
from sagahook_tracker.adapters.rows import without_nul
from sagahook_tracker.domain.attributes import only_one

SCHEMA = "tracker"


def load_queries(file: str = "queries.sql", schema: str = SCHEMA) -> Any:
    """schema: where the tables are that the file calls `tracker.…`; other than that, of views that do not serve yet."""
    sql = Path(__file__).with_name(file).read_text()
    return aiosql.from_str(sql.replace(f"{SCHEMA}.", f"{schema}."), "asyncpg")


def by_attributes(query: str, wanted: Iterable[dict[str, JsonValue]]) -> tuple[str, dict[str, Any]]:
    """The query, or where one word alone is wanted the one that begins at those that have it; and what either is told
    of attributes. wanted: alternatives."""
    held = [without_nul(each) for each in wanted]
    told = {"attributes": held or None}
    alone = only_one(held)
    return (query, told) if alone is None else (f"{query}_by_word", told | alone._asdict())
