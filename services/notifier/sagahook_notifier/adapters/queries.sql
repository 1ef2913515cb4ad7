-- Dispatch and outbox. Times come from the caller's clock. Lists travel as arrays, so that
-- a batch of any size is one statement.

-- name: claim(per_endpoint, busy_endpoints, busy_counts, now, free, token, lease_ends)
-- Take due deliveries under a lease. free: how many in all. per_endpoint: the most that may be under way to one
-- endpoint, with what this dispatcher is sending to it already (busy_…). Endpoints with least under way come first.
WITH ready AS (
    SELECT heads.endpoint_id, greatest(:per_endpoint::int - coalesce(busy.sending, 0), 0) AS room
    FROM notifier.queue_heads AS heads
    JOIN notifier.endpoints AS endpoint ON endpoint.id = heads.endpoint_id AND endpoint.active
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
    delivery.correlation_id, delivery.body, delivery.content_type, delivery.attempts, delivery.attempts_before,
    delivery.lease_token, endpoint.url, endpoint.sealed, endpoint.signing_source, endpoint.retry_policy;

-- name: next_due(full_endpoints)$
-- When the next delivery can be claimed of an endpoint that has room; NULL: none is pending.
SELECT min(heads.claimable_at)
FROM notifier.queue_heads AS heads
JOIN notifier.endpoints AS endpoint ON endpoint.id = heads.endpoint_id AND endpoint.active
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
