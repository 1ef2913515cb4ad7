-- Everything that the notifier asks of PostgreSQL. Times come from the caller's clock. Lists travel as arrays, so
-- that a batch of any size is one statement.

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
SELECT id, event_types, sources, payload_format, created_at
FROM notifier.endpoints
WHERE origin <> 'notify_url' AND enabled;

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
    id, url, signing_source, origin, event_types, payload_format, retry_policy, headers, enabled, created_at
)
SELECT given.id, given.url, given.source, 'notify_url', :event_types::text[], 'standard', '"standard"', '{}', TRUE, :now
FROM unnest(:ids::text[], :urls::text[], :sources::text[]) AS given (id, url, source)
ON CONFLICT (id) DO NOTHING;

-- name: add_subscriptions(saga_ids, endpoint_ids, correlation_ids, runs, sequences)!
INSERT INTO notifier.subscriptions (saga_id, endpoint_id, correlation_id, run, sequence)
SELECT * FROM unnest(:saga_ids::text[], :endpoint_ids::text[], :correlation_ids::text[], :runs::int[], :sequences::int[])
ON CONFLICT DO NOTHING;

-- name: add_deliveries(now, ids, endpoint_ids, event_ids, event_types, saga_ids, runs, correlation_ids, bodies)!
-- One that is there already was made by an earlier reading of the same event.
INSERT INTO notifier.deliveries (
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body,
    status, attempts, claimable_at, created_at
)
SELECT given.*, 'pending', 0, :now, :now
FROM unnest(
    :ids::text[], :endpoint_ids::text[], :event_ids::text[], :event_types::text[], :saga_ids::text[], :runs::int[],
    :correlation_ids::text[], :bodies::bytea[]
) AS given
ON CONFLICT (id) DO NOTHING;

-- name: put_endpoint(id, url, secret, event_types, sources, payload_format, retry_policy, headers, enabled, now)!
-- An endpoint as the configuration has it.
INSERT INTO notifier.endpoints (
    id, origin, url, secret, event_types, sources, payload_format, retry_policy, headers, enabled, created_at
)
VALUES (
    :id, 'configuration', :url, :secret, :event_types, :sources, :payload_format, :retry_policy, :headers, :enabled, :now
)
ON CONFLICT (id) DO UPDATE SET
    url = excluded.url,
    secret = excluded.secret,
    event_types = excluded.event_types,
    sources = excluded.sources,
    payload_format = excluded.payload_format,
    retry_policy = excluded.retry_policy,
    headers = excluded.headers,
    enabled = excluded.enabled;

-- name: disable_other_endpoints(ids)!
-- What is no longer configured is sent nothing more. Its deliveries stay.
UPDATE notifier.endpoints
SET enabled = FALSE
WHERE origin = 'configuration' AND id <> ALL (:ids::text[]);

-- name: claim(per_endpoint, busy_endpoints, busy_counts, now, free, token, lease_ends)
-- Take due deliveries under a lease. free: how many in all. per_endpoint: the most that may be under way to one
-- endpoint, with what this dispatcher is sending to it already (busy_…). Endpoints with least under way come first.
WITH ready AS (
    SELECT heads.endpoint_id, greatest(:per_endpoint::int - coalesce(busy.sending, 0), 0) AS room
    FROM notifier.queue_heads AS heads
    JOIN notifier.endpoints AS endpoint ON endpoint.id = heads.endpoint_id AND endpoint.enabled
    LEFT JOIN unnest(:busy_endpoints::text[], :busy_counts::int[]) AS busy (endpoint_id, sending)
        ON busy.endpoint_id = heads.endpoint_id
    WHERE heads.claimable_at <= :now
    ORDER BY coalesce(busy.sending, 0), heads.claimable_at
), due AS (
    SELECT next.id
    FROM ready
    CROSS JOIN LATERAL (
        SELECT id
        FROM notifier.deliveries
        WHERE status = 'pending' AND endpoint_id = ready.endpoint_id AND claimable_at <= :now
        ORDER BY claimable_at
        LIMIT ready.room
        FOR UPDATE SKIP LOCKED
    ) AS next
    LIMIT :free
)
UPDATE notifier.deliveries AS delivery
SET lease_token = :token, claimable_at = :lease_ends
FROM due, notifier.endpoints AS endpoint
WHERE delivery.id = due.id AND endpoint.id = delivery.endpoint_id
RETURNING
    delivery.id, delivery.endpoint_id, delivery.event_id, delivery.event_type, delivery.saga_id, delivery.run,
    delivery.correlation_id, delivery.body, delivery.attempts, delivery.lease_token,
    endpoint.url, endpoint.secret, endpoint.signing_source, endpoint.headers, endpoint.retry_policy;

-- name: next_due(full_endpoints)$
-- When the next delivery can be claimed of an endpoint that has room; NULL: none is pending.
SELECT min(heads.claimable_at)
FROM notifier.queue_heads AS heads
JOIN notifier.endpoints AS endpoint ON endpoint.id = heads.endpoint_id AND endpoint.enabled
WHERE heads.endpoint_id <> ALL (:full_endpoints::text[]);

-- name: record_attempts(ids, tokens, statuses, claimable, attempts, started, durations, request_headers, status_codes, response_excerpts, errors, now, message_keys, message_headers, message_values)
-- What became of claimed deliveries, their attempts, and what is to be published of them: all three for those
-- whose lease is still ours, nothing for the others. Returns the ids of the former.
WITH given AS (
    SELECT * FROM unnest(
        :ids::text[], :tokens::uuid[], :statuses::text[], :claimable::timestamptz[], :attempts::int[],
        :started::timestamptz[], :durations::real[], :request_headers::text[], :status_codes::int[],
        :response_excerpts::text[], :errors::text[]
    ) AS given (
        id, token, status, claimable_at, attempt, started_at, duration_ms, request_headers, status_code,
        response_excerpt, error
    )
), recorded AS (
    UPDATE notifier.deliveries AS delivery
    SET status = given.status,
        attempts = given.attempt,
        claimable_at = given.claimable_at,
        lease_token = NULL,
        finished_at = CASE WHEN given.status <> 'pending' THEN :now::timestamptz END
    FROM given
    WHERE delivery.id = given.id AND delivery.lease_token = given.token
    RETURNING delivery.id
), logged AS (
    INSERT INTO notifier.attempts (
        delivery_id, attempt, started_at, duration_ms, request_headers, status_code, response_excerpt, error
    )
    SELECT id, attempt, started_at, duration_ms, request_headers::jsonb, status_code, response_excerpt, error
    FROM given
    JOIN recorded USING (id)
), published AS (
    INSERT INTO notifier.outbox (key, headers, value)
    SELECT message.key, message.headers::jsonb, message.value
    FROM unnest(:message_keys::text[], :message_headers::text[], :message_values::text[]) WITH ORDINALITY
        AS message (key, headers, value, position)
    JOIN recorded ON recorded.id = message.key
    ORDER BY message.position
)
SELECT id FROM recorded;

-- name: release(now, ids, tokens)!
-- Give leases back unused: others may take the deliveries at once.
UPDATE notifier.deliveries
SET lease_token = NULL, claimable_at = :now
WHERE id = ANY (:ids::text[]) AND lease_token = ANY (:tokens::uuid[]);

-- name: become_publisher()$
-- Whether this connection is the only one that publishes, from now until it is closed or given back: the order of
-- the outbox is kept by there being one.
SELECT pg_try_advisory_lock(hashtext('sagahook.notifier'), hashtext('outbox'));

-- name: read_outbox(most)
SELECT id, key, headers, value
FROM notifier.outbox
ORDER BY id
LIMIT :most;

-- name: delete_from_outbox(ids)!
DELETE FROM notifier.outbox
WHERE id = ANY (:ids::bigint[]);

-- name: delivery(id)^
SELECT
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, status, attempts, claimable_at,
    lease_token IS NOT NULL AS leased, created_at, finished_at
FROM notifier.deliveries
WHERE id = :id;

-- name: attempts(delivery_id)
SELECT attempt, started_at, duration_ms, request_headers, status_code, response_excerpt, error
FROM notifier.attempts
WHERE delivery_id = :delivery_id
ORDER BY attempt;

-- name: endpoint_exists(id)$
SELECT EXISTS (SELECT FROM notifier.endpoints WHERE id = :id);

-- name: endpoint_deliveries(endpoint_id, status, most, skipped)
-- Newest first. status NULL: every one.
SELECT
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts, claimable_at,
    lease_token IS NOT NULL AS leased, created_at, finished_at
FROM notifier.deliveries
WHERE endpoint_id = :endpoint_id AND (:status::text IS NULL OR status = :status)
ORDER BY created_at DESC, id
LIMIT :most OFFSET :skipped;
