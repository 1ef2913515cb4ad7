-- From the saga log to deliveries. Times come from the caller's clock. Lists travel as arrays, so that a batch of
-- any size is one statement.

-- name: load_offsets(topics)
SELECT topic, partition, next_offset
FROM notifier.offsets
WHERE topic = ANY (:topics);

-- name: advance_offsets(topics, partitions, expected, next)$
-- How many of the given partitions stood at the expected offset and stand at the next one now. A partition
-- without a row was never read.
WITH given AS (
    SELECT * FROM unnest(:topics::text[], :partitions::int[], :expected::bigint[], :next::bigint[])
        AS given (topic, partition, expected_offset, next_offset)
), moved AS (
    UPDATE notifier.offsets AS stored
    SET next_offset = given.next_offset
    FROM given
    WHERE (stored.topic, stored.partition) = (given.topic, given.partition)
      AND stored.next_offset = given.expected_offset
    RETURNING 1
), begun AS (
    INSERT INTO notifier.offsets (topic, partition, next_offset)
    SELECT topic, partition, next_offset
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM notifier.offsets AS stored
        WHERE (stored.topic, stored.partition) = (given.topic, given.partition)
    )
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM begun);

-- name: subscribers()
-- The endpoints that hear of every saga.
SELECT id, event_types, sources, sagas, filter, payload_format, created_at
FROM notifier.endpoints
WHERE origin <> 'notify_url' AND active;

-- name: load_sagas(saga_ids)
SELECT saga_id, view
FROM notifier.sagas
WHERE saga_id = ANY (:saga_ids);

-- name: load_subscriptions(saga_ids)
SELECT saga_id, endpoint_id, correlation_id, run, sequence
FROM notifier.subscriptions
WHERE saga_id = ANY (:saga_ids);

-- name: store_sagas(saga_ids, views)!
INSERT INTO notifier.sagas (saga_id, view)
SELECT * FROM unnest(:saga_ids::text[], :views::text[])
ON CONFLICT (saga_id) DO UPDATE SET view = excluded.view;

-- name: add_notify_endpoints(event_types, now, ids, urls, sources)!
INSERT INTO notifier.endpoints (
    id, url, signing_source, origin, event_types, payload_format, retry_policy, headers, enabled, created_at, updated_at
)
SELECT
    given.id, given.url, given.source, 'notify_url', :event_types::text[], 'standard', '"standard"', '{}', TRUE,
    :now::timestamptz, :now
FROM unnest(:ids::text[], :urls::text[], :sources::text[]) AS given (id, url, source)
ON CONFLICT (id) DO NOTHING;

-- name: add_subscriptions(saga_ids, endpoint_ids, correlation_ids, runs, sequences)!
INSERT INTO notifier.subscriptions (saga_id, endpoint_id, correlation_id, run, sequence)
SELECT * FROM unnest(:saga_ids::text[], :endpoint_ids::text[], :correlation_ids::text[], :runs::int[], :sequences::int[])
ON CONFLICT DO NOTHING;

-- name: add_deliveries(now, ids, endpoint_ids, event_ids, event_types, saga_ids, runs, correlation_ids, bodies, content_types, traceparents)!
-- One that is there already was made by an earlier reading of the same event.
INSERT INTO notifier.deliveries (
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, traceparent,
    status, attempts, claimable_at, created_at
)
SELECT given.*, 'pending', 0, :now, :now
FROM unnest(
    :ids::text[], :endpoint_ids::text[], :event_ids::text[], :event_types::text[], :saga_ids::text[], :runs::int[],
    :correlation_ids::text[], :bodies::bytea[], :content_types::text[], :traceparents::text[]
) AS given
ON CONFLICT (id) DO NOTHING;
