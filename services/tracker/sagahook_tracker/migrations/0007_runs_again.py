"""Finds the runs that are not their saga's first: those of which an earlier one is hidden in lists."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    # Few rows, so that to look for a newer run of each saga of a long list costs next to nothing.
    "CREATE INDEX runs_again ON tracker.runs (saga_id, run) WHERE run > 1",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
