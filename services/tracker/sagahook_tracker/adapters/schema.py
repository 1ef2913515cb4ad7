"""Where the views are, and what makes them."""

from pathlib import Path

from sagahook.runtime.starting import Tables

TABLES = Tables("tracker", Path(__file__).parents[1] / "migrations")
