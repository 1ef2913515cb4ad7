"""Everything else that the log tells: how events stand, history, attempts, rollups, deliveries, audit."""

from alembic import op

revision = "0004"
down_revision = "0003"

# The projector reads the log anew: most of these columns and tables are about what it passed over so far.
_AFRESH = (
    """
    TRUNCATE tracker.offsets, tracker.webhooks, tracker.routes, tracker.runs, tracker.links, tracker.definitions,
        tracker.controls
    """,
)

_WEBHOOKS = (
    # number is the id that people see. task_id: identity.webhook_task_id. headers: of the request, without secrets.
    # Rows are written once, so that many indexes cost each webhook once: every page of every filter is one of them.
    """
    ALTER TABLE tracker.webhooks
        ADD COLUMN delivery_id  text,
        ADD COLUMN task_id      text,
        ADD COLUMN content_type text,
        ADD COLUMN size         bigint,
        ADD COLUMN headers      json
    """,
    "CREATE UNIQUE INDEX webhooks_number ON tracker.webhooks (number)",
    "CREATE INDEX webhooks_newest ON tracker.webhooks (received_at, number)",
    "CREATE INDEX webhooks_of_source ON tracker.webhooks (source, received_at, number)",
    "CREATE INDEX webhooks_of_type ON tracker.webhooks (event_type, received_at, number)",
    "CREATE INDEX webhooks_of_both ON tracker.webhooks (source, event_type, received_at, number)",
    "CREATE INDEX webhooks_delivery ON tracker.webhooks (delivery_id) WHERE delivery_id IS NOT NULL",
    "CREATE INDEX webhooks_task ON tracker.webhooks (task_id) WHERE task_id IS NOT NULL",
)

_ROUTES = (
    # A webhook that is reprocessed is routed again: the route with the highest number is the one that holds.
    """
    ALTER TABLE tracker.routes
        ADD COLUMN number    bigint NOT NULL,
        ADD COLUMN reprocess text
    """,
    "ALTER TABLE tracker.routes DROP CONSTRAINT routes_pkey, ADD PRIMARY KEY (event_id, number)",
    # Which saga an event asked for, from webhooks.routed: its id is known before it starts.
    """
    CREATE TABLE tracker.asked (
        saga_id        text        NOT NULL,
        event_id       text        NOT NULL,
        name           text        NOT NULL,
        correlation_id text        NOT NULL,
        asked_at       timestamptz NOT NULL,
        PRIMARY KEY (saga_id, event_id)
    )
    """,
)

_STANDINGS = (
    # How an event stands: a function of the rows of webhooks, routes, links and runs, computed again when one of them
    # changes (store.sql). Each column of an index changes once or twice in a row's life, so that most
    # updates stay on their page.
    """
    CREATE TABLE tracker.standings (
        event_id    text   PRIMARY KEY,
        number      bigint,
        received_at timestamptz,
        routed_at   timestamptz,
        reprocessed bigint NOT NULL DEFAULT 0,
        open        bigint NOT NULL DEFAULT 0,
        completed   bigint NOT NULL DEFAULT 0,
        failed      bigint NOT NULL DEFAULT 0,
        lost        bigint NOT NULL DEFAULT 0,
        settled_at  timestamptz,
        processed   boolean NOT NULL GENERATED ALWAYS AS (
            number IS NOT NULL AND routed_at IS NOT NULL AND open = 0
        ) STORED,
        outcome     text GENERATED ALWAYS AS (
            CASE
                WHEN number IS NULL THEN NULL
                WHEN routed_at IS NULL THEN 'received'
                WHEN open > 0 THEN 'processing'
                WHEN completed > 0 AND failed + lost > 0 THEN 'completed_with_failures'
                WHEN completed > 0 THEN 'completed'
                WHEN failed + lost > 0 THEN 'failed'
                ELSE 'ignored'
            END
        ) STORED
    ) WITH (fillfactor = 60)
    """,
    """
    CREATE INDEX standings_open ON tracker.standings (received_at, number)
    WHERE NOT processed AND number IS NOT NULL
    """,
)

_RUNS = (
    # status: the word of api.md §3. It changes less often than the state, and so costs an index less.
    """
    ALTER TABLE tracker.runs
        ADD COLUMN event_id text,
        ADD COLUMN held     boolean NOT NULL DEFAULT FALSE,
        ADD COLUMN result   json,
        ADD COLUMN status   text GENERATED ALWAYS AS (
            CASE
                WHEN state = 'PENDING' THEN 'pending'
                WHEN state = 'COMPLETED' THEN 'completed'
                WHEN state IN ('ROLLED_BACK', 'FAILED') THEN 'failed'
                ELSE 'running'
            END
        ) STORED
    """,
    """
    CREATE INDEX runs_of_name
    ON tracker.runs (name, (coalesce(started_at, '-infinity'::timestamptz)), number)
    """,
    """
    CREATE INDEX runs_not_completed
    ON tracker.runs (status, (coalesce(started_at, '-infinity'::timestamptz)), number)
    WHERE status <> 'completed'
    """,
    "CREATE INDEX runs_correlation ON tracker.runs (correlation_id)",
    # The one attribute that api.md filters pages by; PostgreSQL cannot guess how frequent a value within jsonb is.
    """
    CREATE INDEX runs_repository
    ON tracker.runs (
        (attributes ->> 'repository'), (coalesce(started_at, '-infinity'::timestamptz)), number
    )
    WHERE attributes ? 'repository'
    """,
    # One row for each attempt of a step's action, compensation or preparation, from its scheduling to its outcome.
    """
    CREATE TABLE tracker.attempts (
        saga_id      text   NOT NULL,
        run          bigint NOT NULL,
        step         text   NOT NULL,
        phase        text   NOT NULL,
        attempt      bigint NOT NULL,
        number       bigint NOT NULL,
        started_at   timestamptz,
        completed_at timestamptz,
        status       text   NOT NULL,
        error        text,
        duration_ms  bigint,
        participant  text,
        PRIMARY KEY (saga_id, run, step, phase, attempt)
    ) WITH (fillfactor = 80)
    """,
)

_HISTORY = (
    # One row for each event of a run, a partition for each UTC day. The events of one saga, and of one partition of
    # the log, are in the order of their numbers: the second index is what a stream goes on from.
    """
    CREATE TABLE tracker.history (
        number         bigint      NOT NULL,
        saga_id        text        NOT NULL,
        run            bigint      NOT NULL,
        sequence       bigint      NOT NULL,
        at             timestamptz NOT NULL,
        type           text        NOT NULL,
        status         text        NOT NULL,
        state          text        NOT NULL,
        step           text,
        progress       float8      NOT NULL,
        message        text,
        metadata       json        NOT NULL,
        correlation_id text,
        traceparent    text,
        PRIMARY KEY (saga_id, number, at)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX history_stream ON tracker.history ((number & 65535), number)",
)

_ROLLUPS = (
    # How many rows began (attempts: ended) in a minute and stand so now; a row that changes is taken from one count
    # and added to another. The minute -infinity counts since ever.
    """
    CREATE TABLE tracker.rollups (
        minute   timestamptz NOT NULL,
        kind     text        NOT NULL,
        source   text        NOT NULL,
        type     text        NOT NULL,
        outcome  text        NOT NULL,
        count    bigint      NOT NULL,
        total_ms bigint      NOT NULL,
        PRIMARY KEY (minute, kind, source, type, outcome)
    ) WITH (fillfactor = 50)
    """,
)

_DELIVERIES = (
    # One row for each outbound webhook that was tried, from notifications, as its newest attempt left it.
    """
    CREATE TABLE tracker.deliveries (
        delivery_id     text        PRIMARY KEY,
        number          bigint      NOT NULL,
        endpoint_id     text        NOT NULL,
        event_id        text        NOT NULL,
        event_type      text        NOT NULL,
        saga_id         text        NOT NULL,
        run             bigint      NOT NULL,
        correlation_id  text        NOT NULL,
        status          text        NOT NULL,
        attempts        bigint      NOT NULL,
        error           text,
        status_code     bigint,
        next_attempt_at timestamptz,
        first_at        timestamptz NOT NULL,
        updated_at      timestamptz NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX deliveries_run ON tracker.deliveries (saga_id, run)",
    "CREATE INDEX deliveries_correlation ON tracker.deliveries (correlation_id)",
    "CREATE INDEX deliveries_newest ON tracker.deliveries (updated_at)",
    # What was said of each attempt: `exhausted` comes after the `attempt_failed` of the last one.
    """
    CREATE TABLE tracker.delivery_attempts (
        delivery_id     text        NOT NULL,
        attempt         bigint      NOT NULL,
        what            text        NOT NULL,
        number          bigint      NOT NULL,
        at              timestamptz NOT NULL,
        status_code     bigint,
        error           text,
        next_attempt_at timestamptz,
        PRIMARY KEY (delivery_id, attempt, what)
    )
    """,
)

_AUDIT = (
    # Refused calls and operators' acts, from audit, a partition for each UTC day. count: of the same within a moment.
    """
    CREATE TABLE tracker.audit (
        audit_id       text        NOT NULL,
        number         bigint      NOT NULL,
        at             timestamptz NOT NULL,
        until          timestamptz,
        service        text        NOT NULL,
        action         text        NOT NULL,
        target         text        NOT NULL,
        outcome        text        NOT NULL,
        actor          text        NOT NULL,
        role           text        NOT NULL,
        reason         text        NOT NULL,
        client         text        NOT NULL,
        correlation_id text        NOT NULL,
        count          bigint      NOT NULL,
        PRIMARY KEY (audit_id, at)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX audit_newest ON tracker.audit (at, number)",
    "CREATE INDEX audit_actor ON tracker.audit (actor, at, number)",
    "CREATE INDEX audit_target ON tracker.audit (target, at, number)",
    # What was let go for its age: rows of the kind from before. rows: the most that history keeps of a run.
    """
    CREATE TABLE tracker.cutoffs (
        kind   text        PRIMARY KEY,
        before timestamptz NOT NULL,
        rows   bigint
    )
    """,
)

STATEMENTS = (
    *_AFRESH,
    *_WEBHOOKS,
    *_ROUTES,
    *_STANDINGS,
    *_RUNS,
    *_HISTORY,
    *_ROLLUPS,
    *_DELIVERIES,
    *_AUDIT,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
