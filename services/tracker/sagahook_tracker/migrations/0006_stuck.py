"""Sagas that wait for a person are few, and found at once."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    """
    CREATE INDEX runs_failed
    ON tracker.runs ((coalesce(started_at, '-infinity'::timestamptz)), number)
    WHERE state = 'FAILED'
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
