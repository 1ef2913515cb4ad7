"""Finds the sagas that ended long ago."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # Changes once in a run's life, when it ends.
    "CREATE INDEX runs_finished ON tracker.runs (finished_at, number) WHERE finished_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
