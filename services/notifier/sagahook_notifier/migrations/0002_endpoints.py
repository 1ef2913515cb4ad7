"""Endpoints that people make, and secrets that are encrypted at rest; more of what deliveries and attempts say."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    # sealed: the secrets that sign and the values of headers, encrypted (adapters/vault.py). What stands in `secret`
    # and `headers` is moved there when the notifier starts: only it knows the key.
    # enabled: what people want. disabled_at, disabled_reason: the notifier switched it off by itself. deleted_at: its
    # deliveries are kept, and so is its row.
    """
    ALTER TABLE notifier.endpoints
        DROP CONSTRAINT endpoints_check,
        DROP CONSTRAINT endpoints_check1,
        DROP CONSTRAINT endpoints_origin_check,
        ADD CONSTRAINT endpoints_origin CHECK (origin IN ('configuration', 'api', 'notify_url')),
        ADD CONSTRAINT endpoints_signed CHECK ((signing_source IS NULL) = (origin <> 'notify_url')),
        ADD COLUMN sealed          bytea,
        ADD COLUMN description     text NOT NULL DEFAULT '',
        ADD COLUMN sagas           text[],
        ADD COLUMN filter          text,
        ADD COLUMN ordered         boolean NOT NULL DEFAULT FALSE,
        ADD COLUMN rate_per_second float8,
        ADD COLUMN rate_burst      int CHECK ((rate_burst IS NULL) = (rate_per_second IS NULL)),
        ADD COLUMN disabled_at     timestamptz,
        ADD COLUMN disabled_reason text,
        ADD COLUMN updated_at      timestamptz,
        ADD COLUMN deleted_at      timestamptz,
        ADD COLUMN active          boolean GENERATED ALWAYS AS
            (enabled AND disabled_at IS NULL AND deleted_at IS NULL) STORED
    """,
    "UPDATE notifier.endpoints SET updated_at = created_at",
    "ALTER TABLE notifier.endpoints ALTER COLUMN updated_at SET NOT NULL",
    # attempts_before: those that were made before somebody asked for it again; the policy counts from there.
    # cancelled: its endpoint was removed.
    """
    ALTER TABLE notifier.deliveries
        DROP CONSTRAINT deliveries_status_check,
        ADD CONSTRAINT deliveries_status CHECK (status IN ('pending', 'succeeded', 'exhausted', 'cancelled')),
        ADD COLUMN content_type    text NOT NULL DEFAULT 'application/json',
        ADD COLUMN attempts_before int  NOT NULL DEFAULT 0
    """,
    """
    CREATE INDEX deliveries_exhausted ON notifier.deliveries (created_at DESC, id)
        WHERE status = 'exhausted'
    """,
    # phases: milliseconds by their names.
    """
    ALTER TABLE notifier.attempts
        ADD COLUMN response_headers jsonb,
        ADD COLUMN phases           jsonb
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
