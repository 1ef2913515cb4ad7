"""Leases beside the times of attempts, an order within an endpoint's queue, endpoints' health, and a packed outbox."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    # claimable_at: when the next attempt is due. leased_until: so long a dispatcher holds it under its lease_token.
    # It is in no index, so that a claim rewrites none. number: the order in which deliveries were planned.
    """
    ALTER TABLE notifier.deliveries
        ADD COLUMN leased_until timestamptz,
        ADD COLUMN number       bigint GENERATED ALWAYS AS IDENTITY,
        SET (fillfactor = 75)
    """,
    "UPDATE notifier.deliveries SET leased_until = claimable_at WHERE lease_token IS NOT NULL",
    # The queue of an endpoint that wants its deliveries one after the other.
    """
    CREATE INDEX deliveries_line ON notifier.deliveries (endpoint_id, number)
        WHERE status = 'pending'
    """,
    "DROP VIEW notifier.queue_heads",
    # The endpoints that something waits for, found by hopping through the queues' index.
    """
    CREATE VIEW notifier.waiting_endpoints AS
    WITH RECURSIVE hops AS (
        (SELECT endpoint_id FROM notifier.deliveries WHERE status = 'pending' ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT next.endpoint_id
        FROM hops
        CROSS JOIN LATERAL (
            SELECT endpoint_id
            FROM notifier.deliveries
            WHERE status = 'pending' AND endpoint_id > hops.endpoint_id
            ORDER BY endpoint_id
            LIMIT 1
        ) AS next
    )
    SELECT endpoint_id FROM hops
    """,
    # How endpoints are doing (domain/health.py); one without a row is healthy and was never slowed down.
    # empty_at: when the tokens of its rate limit were used up, or would have been.
    """
    CREATE TABLE notifier.endpoint_health (
        endpoint_id   text        PRIMARY KEY REFERENCES notifier.endpoints ON DELETE CASCADE,
        failures      int         NOT NULL DEFAULT 0,
        openings      int         NOT NULL DEFAULT 0,
        open_until    timestamptz,
        failing_since timestamptz,
        error         text,
        empty_at      timestamptz
    )
    WITH (fillfactor = 50)
    """,
    # Outcomes that Kafka does not have yet: the messages of one transaction in a row.
    """
    CREATE TABLE notifier.packed_outbox (
        id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        keys     text[] NOT NULL,
        headers  text[] NOT NULL,
        payloads text[] NOT NULL
    )
    WITH (autovacuum_vacuum_scale_factor = 0.02)
    """,
    """
    INSERT INTO notifier.packed_outbox (keys, headers, payloads)
    SELECT ARRAY[key], ARRAY[headers::text], ARRAY[value] FROM notifier.outbox ORDER BY id
    """,
    "DROP TABLE notifier.outbox",
    "ALTER TABLE notifier.packed_outbox RENAME TO outbox",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
