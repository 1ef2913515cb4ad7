-- Endpoints, and what people ask of their deliveries. Times come from the caller's clock.

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
