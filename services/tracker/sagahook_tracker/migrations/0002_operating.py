"""What the complete engine says of a run, what operators look for, and what is deployed."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    # domain/runs.py says what the columns mean; progress is what an action said. Only attributes is looked into.
    """
    ALTER TABLE tracker.runs
        ADD COLUMN definition_hash text,
        ADD COLUMN source          text,
        ADD COLUMN correlation_id  text,
        ADD COLUMN suspended_in    text,
        ADD COLUMN attributes      jsonb,
        ADD COLUMN parent          json,
        ADD COLUMN limit_key       text,
        ADD COLUMN deadline_at     timestamptz,
        ADD COLUMN progress        float8,
        ADD COLUMN message         text,
        ADD COLUMN unresolved      json NOT NULL DEFAULT '[]',
        ADD COLUMN cause           text,
        ADD COLUMN acts            json NOT NULL DEFAULT '[]'
    """,
    # Both are of columns that never change once they are there: an update of a run touches neither of them.
    """
    CREATE INDEX runs_attributes ON tracker.runs USING gin (attributes jsonb_path_ops)
    WHERE attributes IS NOT NULL
    """,
    """
    CREATE INDEX runs_newest
    ON tracker.runs ((coalesce(started_at, '-infinity'::timestamptz)) DESC, number DESC)
    """,
    # One row for each version that is deployed, from saga.definitions. definition: the contract's JSON, without
    # what is left as it is by default.
    """
    CREATE TABLE tracker.definitions (
        name        text        NOT NULL,
        version     bigint      NOT NULL,
        number      bigint      NOT NULL,
        hash        text        NOT NULL,
        definition  json        NOT NULL,
        deployed_at timestamptz NOT NULL,
        PRIMARY KEY (name, version)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
