"""What is old is let go, and a fence keeps it from being delivered again."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # read_until: Kafka's time of the newest record that was read; absent where none was since this migration.
    "ALTER TABLE notifier.offsets ADD COLUMN read_until timestamptz",
    # One row. Every event from before it was read once, and is told of no more: what was made of it may be gone.
    """
    CREATE TABLE notifier.fence (
        single boolean     PRIMARY KEY DEFAULT TRUE CHECK (single),
        before timestamptz NOT NULL
    )
    """,
    "INSERT INTO notifier.fence (before) VALUES ('1970-01-01T00:00:00Z')",
    # ended_at: when the last event of a saga that is over was read. A name that a step's result has is behind this one,
    # and one within a text has a backslash before its quote.
    "ALTER TABLE notifier.sagas ADD COLUMN ended_at timestamptz",
    """
    UPDATE notifier.sagas
    SET ended_at = now()
    WHERE substring(view FROM '"state":"([A-Z_]+)"') IN ('COMPLETED', 'ROLLED_BACK', 'FAILED')
    """,
    "CREATE INDEX sagas_ended ON notifier.sagas (ended_at) WHERE ended_at IS NOT NULL",
    # An endpoint that nobody waits for any more is found by it.
    "CREATE INDEX subscriptions_endpoint ON notifier.subscriptions (endpoint_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
