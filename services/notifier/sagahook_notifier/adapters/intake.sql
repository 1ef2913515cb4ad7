-- From the saga log to deliveries. Times come from the caller's clock. Lists travel as arrays, so that a batch of
-- any size is one statement.

-- name: load_offsets(topics)
SELECT topic, partition, next_offset
FROM notifier.offsets
WHERE topic = ANY (:topics);

-- name: load_fence()$
SELECT before
FROM notifier.fence;

-- name: subscribers(known)
-- The endpoints that hear of every saga, if they are others than those whose version is known, each with the version of all
-- of them; else one row with nothing but that.
WITH heard AS MATERIALIZED (
    SELECT id, event_types, sources, sagas, filter, payload_format, created_at, xmin::text AS row_version
    FROM notifier.endpoints
    WHERE origin <> 'notify_url' AND active
), now AS MATERIALIZED (
    SELECT count(*) || '/' || coalesce(sum(hashtextextended(id, row_version::bigint)), 0) AS version
    FROM heard
)
SELECT now.version, heard.*
FROM now
LEFT JOIN heard ON now.version IS DISTINCT FROM :known::text;

-- name: load_known(saga_ids)
-- A row for each saga, with its view, and one for each endpoint that waits for one.
SELECT
    saga_id, view, NULL AS endpoint_id, NULL AS correlation_id, NULL::int AS run, NULL::int AS sequence
FROM notifier.sagas
WHERE saga_id = ANY (:saga_ids::text[])
UNION ALL
SELECT saga_id, NULL, endpoint_id, correlation_id, run, sequence
FROM notifier.subscriptions
WHERE saga_id = ANY (:saga_ids::text[]);

-- name: keep(fence, topics, partitions, expected, next, read_until, saga_ids, views, final, event_types, caller_ids, caller_urls, caller_sources, waited_sagas, waiters, waited_correlations, waited_runs, waited_sequences, ids, endpoint_ids, event_ids, types, about_sagas, runs, correlation_ids, bodies, content_types, traceparents, held, token, held_until, now)
-- All that a batch asks for, in one statement and so in one transaction. It fails by dividing by zero, and nothing of it is
-- kept, unless the fence is the one that the plan knew (which can't be raised before this transaction ends) and every given
-- partition stood at its expected offset, or was never read.
-- A delivery for which a dispatcher has set a place aside (held) is made under its lease, unless its endpoint is one of which
-- a claim has to decide. Returns those: at least one row, with a NULL for none.
WITH unchanged AS (
    SELECT FROM notifier.fence WHERE before = :fence::timestamptz FOR SHARE
), given AS (
    SELECT *
    FROM unnest(:topics::text[], :partitions::int[], :expected::bigint[], :next::bigint[], :read_until::timestamptz[])
        AS given (topic, partition, expected_offset, next_offset, read_until)
), moved AS (
    UPDATE notifier.offsets AS stored
    SET next_offset = given.next_offset, read_until = greatest(stored.read_until, given.read_until)
    FROM given, unchanged
    WHERE (stored.topic, stored.partition) = (given.topic, given.partition)
      AND stored.next_offset = given.expected_offset
    RETURNING 1
), begun AS (
    INSERT INTO notifier.offsets (topic, partition, next_offset, read_until)
    SELECT topic, partition, next_offset, read_until
    FROM given, unchanged
    WHERE NOT EXISTS (
        SELECT FROM notifier.offsets AS stored
        WHERE (stored.topic, stored.partition) = (given.topic, given.partition)
    )
    ON CONFLICT DO NOTHING
    RETURNING 1
), remembered AS (
    INSERT INTO notifier.sagas (saga_id, view, ended_at)
    SELECT saga_id, view, CASE WHEN final THEN :now::timestamptz END
    FROM unnest(:saga_ids::text[], :views::text[], :final::boolean[]) AS saga (saga_id, view, final)
    ON CONFLICT (saga_id) DO UPDATE SET view = excluded.view, ended_at = excluded.ended_at
), callers AS (
    INSERT INTO notifier.endpoints (
        id, url, signing_source, origin, event_types, payload_format, retry_policy, headers, enabled, created_at,
        updated_at
    )
    SELECT
        id, url, source, 'notify_url', :event_types::text[], 'standard', '"standard"', '{}', TRUE, :now::timestamptz,
        :now::timestamptz
    FROM unnest(:caller_ids::text[], :caller_urls::text[], :caller_sources::text[]) AS caller (id, url, source)
    ON CONFLICT (id) DO NOTHING
), waiting AS (
    INSERT INTO notifier.subscriptions (saga_id, endpoint_id, correlation_id, run, sequence)
    SELECT *
    FROM unnest(
        :waited_sagas::text[], :waiters::text[], :waited_correlations::text[], :waited_runs::int[],
        :waited_sequences::int[]
    )
    ON CONFLICT DO NOTHING
), free AS MATERIALIZED (
    SELECT endpoint.id, endpoint.xmin::text AS version, health.failing_since IS NOT NULL AS ailing
    FROM notifier.endpoints AS endpoint
    LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = endpoint.id
    WHERE endpoint.id = ANY (:endpoint_ids::text[]) AND endpoint.active AND NOT endpoint.ordered
      AND endpoint.rate_per_second IS NULL AND health.open_until IS NULL
), added AS (
    -- In the order of the arrays, which becomes that of their numbers. One that is there already was made by an earlier
    -- reading of the same event.
    INSERT INTO notifier.deliveries (
        id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, traceparent,
        status, attempts, claimable_at, created_at, lease_token, leased_until
    )
    SELECT
        id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, traceparent,
        'pending', 0, :now::timestamptz, :now::timestamptz,
        CASE WHEN held AND endpoint_id = ANY (ARRAY(SELECT id FROM free)) THEN :token::uuid END,
        CASE WHEN held AND endpoint_id = ANY (ARRAY(SELECT id FROM free)) THEN :held_until::timestamptz END
    FROM unnest(
        :ids::text[], :endpoint_ids::text[], :event_ids::text[], :types::text[], :about_sagas::text[], :runs::int[],
        :correlation_ids::text[], :bodies::bytea[], :content_types::text[], :traceparents::text[], :held::boolean[]
    ) AS delivery (
        id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, traceparent, held
    )
    ON CONFLICT (id) DO NOTHING
    RETURNING id, endpoint_id, lease_token
), checked AS (
    SELECT 1 / (
        (SELECT count(*) FROM moved) + (SELECT count(*) FROM begun) = (SELECT count(*) FROM given)
    )::int AS well
)
SELECT checked.well, handed.id, handed.endpoint_id, handed.version, handed.ailing
FROM checked
LEFT JOIN (
    SELECT added.id, added.endpoint_id, free.version, free.ailing
    FROM added
    JOIN free ON free.id = added.endpoint_id
    WHERE added.lease_token IS NOT NULL
) AS handed ON TRUE;
