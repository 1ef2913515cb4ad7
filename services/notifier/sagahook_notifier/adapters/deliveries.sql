-- What people ask of deliveries. Times come from the caller's clock.

-- name: endpoint_exists(id)$
-- Also one that was removed: its deliveries are there.
SELECT EXISTS (SELECT FROM notifier.endpoints WHERE id = :id);

-- name: load_delivery(id)^
SELECT
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, status, attempts,
    claimable_at, leased_until, created_at, finished_at
FROM notifier.deliveries
WHERE id = :id;

-- name: load_attempts(delivery_id)
SELECT
    attempt, started_at, duration_ms, request_headers, status_code, response_headers, response_excerpt, phases, error
FROM notifier.attempts
WHERE delivery_id = :delivery_id
ORDER BY attempt;

-- name: list_deliveries(endpoint_id, status, event_type, since, until, most, skipped)
-- Newest first, of one endpoint. NULL: whichever.
SELECT
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts, claimable_at, leased_until,
    created_at, finished_at
FROM notifier.deliveries
WHERE endpoint_id = :endpoint_id
    AND (:status::text IS NULL OR status = :status)
    AND (:event_type::text IS NULL OR event_type = :event_type)
    AND (:since::timestamptz IS NULL OR created_at >= :since)
    AND (:until::timestamptz IS NULL OR created_at < :until)
ORDER BY created_at DESC, id
LIMIT :most OFFSET :skipped;

-- name: list_dead_letters(event_type, since, until, most, skipped)
-- Newest first, of all endpoints. NULL: whichever.
SELECT
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts, claimable_at, leased_until,
    created_at, finished_at
FROM notifier.deliveries
WHERE status = 'exhausted'
    AND (:event_type::text IS NULL OR event_type = :event_type)
    AND (:since::timestamptz IS NULL OR created_at >= :since)
    AND (:until::timestamptz IS NULL OR created_at < :until)
ORDER BY created_at DESC, id
LIMIT :most OFFSET :skipped;

-- name: resend(id, now)$
-- Its id where it is sent again, from its policy's beginning; NULL where it is being sent at this moment.
UPDATE notifier.deliveries
SET status = 'pending', attempts_before = attempts, claimable_at = :now, finished_at = NULL, lease_token = NULL,
    leased_until = NULL
WHERE id = :id AND (leased_until IS NULL OR leased_until < :now)
RETURNING id;

-- name: redrive(endpoint_id, since, until, now, gap, most)$
-- How many exhausted deliveries are sent again, the oldest first, each endpoint's with a gap (seconds) between them.
-- endpoint_id NULL: of every endpoint that is there and not switched off.
WITH chosen AS (
    SELECT delivery.id, delivery.endpoint_id, delivery.created_at
    FROM notifier.deliveries AS delivery
    JOIN notifier.endpoints AS endpoint ON endpoint.id = delivery.endpoint_id AND endpoint.active
    WHERE delivery.status = 'exhausted'
        AND (:endpoint_id::text IS NULL OR delivery.endpoint_id = :endpoint_id)
        AND delivery.created_at >= :since
        AND (:until::timestamptz IS NULL OR delivery.created_at < :until)
    ORDER BY delivery.created_at, delivery.id
    LIMIT :most
    FOR NO KEY UPDATE OF delivery SKIP LOCKED
), placed AS (
    SELECT id, row_number() OVER (PARTITION BY endpoint_id ORDER BY created_at, id) - 1 AS place
    FROM chosen
), sent AS (
    UPDATE notifier.deliveries AS delivery
    SET status = 'pending', attempts_before = attempts, finished_at = NULL,
        claimable_at = :now::timestamptz + placed.place * make_interval(secs => :gap)
    FROM placed
    WHERE delivery.id = placed.id
    RETURNING 1
)
SELECT count(*) FROM sent;
