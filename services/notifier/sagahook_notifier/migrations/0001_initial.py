"""Endpoints, what is remembered of each saga, deliveries with their attempts, and the outbox."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE notifier.offsets (
        topic       text   NOT NULL,
        partition   int    NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    )
    """,
    # Where outbound webhooks go. One that a webhook named for itself ('notify_url') is signed with the
    # secret of its source, which the configuration holds.
    """
    CREATE TABLE notifier.endpoints (
        id             text        PRIMARY KEY,
        origin         text        NOT NULL CHECK (origin IN ('configuration', 'notify_url')),
        url            text        NOT NULL,
        secret         text        CHECK ((secret IS NULL) = (origin = 'notify_url')),
        signing_source text        CHECK ((signing_source IS NULL) = (origin <> 'notify_url')),
        event_types    text[]      NOT NULL,
        sources        text[],
        payload_format text        NOT NULL,
        retry_policy   jsonb       NOT NULL,
        headers        jsonb       NOT NULL,
        enabled        boolean     NOT NULL,
        created_at     timestamptz NOT NULL
    )
    """,
    "CREATE INDEX endpoints_heard ON notifier.endpoints (id) WHERE origin <> 'notify_url'",
    # What is remembered of a saga's newest run, as JSON: only the notifier's own code reads it. Not jsonb,
    # which refuses some strings that a step's result may hold.
    "CREATE TABLE notifier.sagas (saga_id text PRIMARY KEY, view text NOT NULL)",
    # The endpoints that wait for one saga's end; run and sequence are those of the event that asked.
    """
    CREATE TABLE notifier.subscriptions (
        saga_id        text NOT NULL,
        endpoint_id    text NOT NULL REFERENCES notifier.endpoints,
        correlation_id text NOT NULL,
        run            int  NOT NULL,
        sequence       int  NOT NULL,
        PRIMARY KEY (saga_id, endpoint_id)
    )
    """,
    # claimable_at: from when a dispatcher may take it. While one holds it under its lease_token, that is
    # the end of the lease; else the time of the next attempt.
    """
    CREATE TABLE notifier.deliveries (
        id             text        PRIMARY KEY,
        endpoint_id    text        NOT NULL REFERENCES notifier.endpoints,
        event_id       text        NOT NULL,
        event_type     text        NOT NULL,
        saga_id        text        NOT NULL,
        run            int         NOT NULL,
        correlation_id text        NOT NULL,
        body           bytea       NOT NULL,
        status         text        NOT NULL CHECK (status IN ('pending', 'succeeded', 'exhausted')),
        attempts       int         NOT NULL,
        claimable_at   timestamptz NOT NULL,
        lease_token    uuid,
        created_at     timestamptz NOT NULL,
        finished_at    timestamptz
    )
    WITH (autovacuum_vacuum_scale_factor = 0.02)
    """,
    # Each endpoint's queue, so that a long one costs the others nothing.
    """
    CREATE INDEX deliveries_queue ON notifier.deliveries (endpoint_id, claimable_at)
        WHERE status = 'pending'
    """,
    # The first of each queue, found by hopping through that index.
    """
    CREATE VIEW notifier.queue_heads AS
    WITH RECURSIVE heads AS (
        (
            SELECT endpoint_id, claimable_at
            FROM notifier.deliveries
            WHERE status = 'pending'
            ORDER BY endpoint_id, claimable_at
            LIMIT 1
        )
        UNION ALL
        SELECT next.endpoint_id, next.claimable_at
        FROM heads
        CROSS JOIN LATERAL (
            SELECT endpoint_id, claimable_at
            FROM notifier.deliveries
            WHERE status = 'pending' AND endpoint_id > heads.endpoint_id
            ORDER BY endpoint_id, claimable_at
            LIMIT 1
        ) AS next
    )
    SELECT endpoint_id, claimable_at FROM heads
    """,
    "CREATE INDEX deliveries_newest ON notifier.deliveries (endpoint_id, created_at DESC, id)",
    """
    CREATE TABLE notifier.attempts (
        delivery_id      text        NOT NULL REFERENCES notifier.deliveries ON DELETE CASCADE,
        attempt          int         NOT NULL,
        started_at       timestamptz NOT NULL,
        duration_ms      real        NOT NULL,
        request_headers  jsonb       NOT NULL,
        status_code      int,
        response_excerpt text,
        error            text,
        PRIMARY KEY (delivery_id, attempt)
    )
    """,
    # Outcomes that Kafka does not have yet.
    """
    CREATE TABLE notifier.outbox (
        id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key     text  NOT NULL,
        headers jsonb NOT NULL,
        value   text  NOT NULL
    )
    WITH (autovacuum_vacuum_scale_factor = 0.02)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
