"""Where the notifier's tables are, and what makes them."""

from pathlib import Path

from sagahook.runtime.starting import Tables

SCHEMA = "notifier"
MIGRATIONS = Path(__file__).parents[1] / "migrations"
TABLES = Tables(SCHEMA, MIGRATIONS)
