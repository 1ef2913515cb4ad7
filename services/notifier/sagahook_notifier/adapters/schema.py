"""Where the notifier's tables are, and what makes them."""

from pathlib import Path

SCHEMA = "notifier"
MIGRATIONS = Path(__file__).parents[1] / "migrations"
