"""Which definitions and sources operators paused."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    # One row for each of which an operator ever said something, from saga.definitions: what was said last.
    """
    CREATE TABLE tracker.controls (
        kind   text        NOT NULL,
        name   text        NOT NULL,
        number bigint      NOT NULL,
        paused boolean     NOT NULL,
        actor  text        NOT NULL,
        reason text        NOT NULL,
        set_at timestamptz NOT NULL,
        PRIMARY KEY (kind, name)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
