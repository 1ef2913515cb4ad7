"""The first views: webhooks, routes, runs, and the links between them."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    # How far each partition of the log is told by the other tables.
    """
    CREATE TABLE tracker.offsets (
        topic       text   NOT NULL,
        partition   int    NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    )
    """,
    # One row for each webhook that was received, from webhooks.received. number: from its position in the log.
    """
    CREATE TABLE tracker.webhooks (
        event_id       text        PRIMARY KEY,
        number         bigint      NOT NULL,
        source         text        NOT NULL,
        correlation_id text        NOT NULL,
        event_type     text        NOT NULL,
        received_at    timestamptz NOT NULL
    )
    """,
    "CREATE INDEX webhooks_correlation ON tracker.webhooks (correlation_id, source)",
    # What a webhook asked for, or why nothing, from webhooks.routed; it may be there before its webhook.
    # sagas: a list of {saga_id, name}; errors: a list of {name, error}, the triggers that failed.
    """
    CREATE TABLE tracker.routes (
        event_id  text        PRIMARY KEY,
        outcome   text        NOT NULL CHECK (outcome IN ('triggered', 'ignored', 'failed')),
        reason    text,
        sagas     json        NOT NULL,
        errors    json        NOT NULL,
        routed_at timestamptz NOT NULL
    )
    """,
    # One run of a saga up to the event `sequence`, folded from saga.events (domain/runs.py says what the
    # columns mean). json, not jsonb: it is only read whole, and may hold what jsonb refuses (\\u0000).
    # Room is left in the pages, so that an update stays on its page and touches no index.
    """
    CREATE TABLE tracker.runs (
        saga_id         text   NOT NULL,
        run             bigint NOT NULL,
        number          bigint NOT NULL,
        sequence        bigint NOT NULL,
        name            text   NOT NULL,
        version         bigint NOT NULL,
        state           text   NOT NULL,
        user_id         text,
        context         json,
        total_steps     bigint NOT NULL,
        steps           json   NOT NULL,
        completed_steps json   NOT NULL,
        failed_step     text,
        error           text,
        reason          text,
        started_at      timestamptz,
        updated_at      timestamptz,
        finished_at     timestamptz,
        PRIMARY KEY (saga_id, run)
    ) WITH (fillfactor = 70)
    """,
    # Which run a webhook started or joined, from saga.events.
    """
    CREATE TABLE tracker.links (
        event_id       text        NOT NULL,
        saga_id        text        NOT NULL,
        run            bigint      NOT NULL,
        correlation_id text        NOT NULL,
        linked_at      timestamptz NOT NULL,
        PRIMARY KEY (event_id, saga_id, run)
    )
    """,
    "CREATE INDEX links_run ON tracker.links (saga_id, run)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
