"""The trace that a delivery belongs to."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # W3C Trace Context §3.2, as the event had it that the delivery is about; absent where nothing is traced.
    "ALTER TABLE notifier.deliveries ADD COLUMN traceparent text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
