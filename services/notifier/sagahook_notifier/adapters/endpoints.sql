-- Endpoints. Times come from the caller's clock.

-- name: load_endpoint(id)^
SELECT
    id, origin, url, description, event_types, sources, sagas, filter, payload_format, retry_policy, rate_per_second,
    rate_burst, ordered, enabled, sealed, signing_source, created_at, updated_at, disabled_at, disabled_reason
FROM notifier.endpoints
WHERE id = :id AND deleted_at IS NULL;

-- name: lock_endpoint(id)^
SELECT
    id, origin, url, description, event_types, sources, sagas, filter, payload_format, retry_policy, rate_per_second,
    rate_burst, ordered, enabled, sealed, signing_source, created_at, updated_at, disabled_at, disabled_reason
FROM notifier.endpoints
WHERE id = :id AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- name: list_endpoints(origins, most, skipped)
-- In the order in which they were made.
SELECT
    id, origin, url, description, event_types, sources, sagas, filter, payload_format, retry_policy, rate_per_second,
    rate_burst, ordered, enabled, sealed, signing_source, created_at, updated_at, disabled_at, disabled_reason
FROM notifier.endpoints
WHERE origin = ANY (:origins) AND deleted_at IS NULL
ORDER BY created_at, id
LIMIT :most OFFSET :skipped;

-- name: save_endpoint(id, origin, url, description, event_types, sources, sagas, filter, payload_format, retry_policy, rate_per_second, rate_burst, ordered, enabled, sealed, created_at, updated_at, disabled_at, disabled_reason)!
-- Also over one that was removed, which is another endpoint then. sealed NULL: what is there stays.
INSERT INTO notifier.endpoints (
    id, origin, url, description, event_types, sources, sagas, filter, payload_format, retry_policy, rate_per_second,
    rate_burst, ordered, enabled, sealed, headers, created_at, updated_at, disabled_at, disabled_reason
)
VALUES (
    :id, :origin, :url, :description, :event_types, :sources, :sagas, :filter, :payload_format, :retry_policy,
    :rate_per_second, :rate_burst, :ordered, :enabled, :sealed, '{}', :created_at, :updated_at, :disabled_at,
    :disabled_reason
)
ON CONFLICT (id) DO UPDATE SET
    origin = excluded.origin,
    url = excluded.url,
    description = excluded.description,
    event_types = excluded.event_types,
    sources = excluded.sources,
    sagas = excluded.sagas,
    filter = excluded.filter,
    payload_format = excluded.payload_format,
    retry_policy = excluded.retry_policy,
    rate_per_second = excluded.rate_per_second,
    rate_burst = excluded.rate_burst,
    ordered = excluded.ordered,
    enabled = excluded.enabled,
    sealed = coalesce(excluded.sealed, endpoints.sealed),
    secret = NULL,
    headers = '{}',
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    disabled_at = excluded.disabled_at,
    disabled_reason = excluded.disabled_reason,
    deleted_at = NULL;

-- name: lock_new_endpoint(id)!
-- Of two who make or change the same endpoint one waits, also while there is none yet.
SELECT pg_advisory_xact_lock(hashtext('sagahook.notifier.endpoint'), hashtext(:id));

-- name: enable_notify_endpoint(id, now)!
UPDATE notifier.endpoints
SET disabled_at = NULL, disabled_reason = NULL, updated_at = :now
WHERE id = :id;

-- name: forget_failures(id)!
-- What was known of its failing, as if it had just been made.
DELETE FROM notifier.endpoint_health
WHERE endpoint_id = :id;

-- name: remove_endpoint(id, now)!
-- Its secrets are gone with it.
UPDATE notifier.endpoints
SET deleted_at = :now, updated_at = :now, sealed = NULL, secret = NULL, headers = '{}'
WHERE id = :id;

-- name: cancel_deliveries(endpoint_id, now)!
UPDATE notifier.deliveries
SET status = 'cancelled', finished_at = :now, lease_token = NULL, leased_until = NULL
WHERE endpoint_id = :endpoint_id AND status = 'pending';

-- name: disable_other_endpoints(ids, now)!
-- What is no longer configured is sent nothing more. Its deliveries stay.
UPDATE notifier.endpoints
SET enabled = FALSE, updated_at = :now
WHERE origin = 'configuration' AND id <> ALL (:ids::text[]) AND enabled;

-- name: load_unsealed()
-- What an earlier version stored in the clear.
SELECT id, secret, headers, created_at
FROM notifier.endpoints
WHERE sealed IS NULL AND origin <> 'notify_url' AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- name: load_sealed_otherwise(key_id)
-- What another key than this one encrypted.
SELECT id, sealed
FROM notifier.endpoints
WHERE sealed IS NOT NULL AND substring(sealed FOR 4) <> :key_id::bytea
FOR NO KEY UPDATE;

-- name: store_sealed(id, sealed)!
UPDATE notifier.endpoints
SET sealed = :sealed, secret = NULL, headers = '{}'
WHERE id = :id;

-- name: add_delivery(id, endpoint_id, event_id, event_type, body, content_type, now)!
-- One that is about no saga.
INSERT INTO notifier.deliveries (
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, status, attempts,
    claimable_at, created_at
)
VALUES (:id, :endpoint_id, :event_id, :event_type, '', 0, '', :body, :content_type, 'pending', 0, :now, :now);

-- name: endpoint_statistics(endpoint_id, since)^
-- Deliveries that were made, and attempts that began, since then. Milliseconds.
WITH recent AS (
    SELECT id, status, created_at
    FROM notifier.deliveries
    WHERE endpoint_id = :endpoint_id AND created_at >= :since
), tried AS (
    SELECT attempt.error IS NULL AS succeeded, attempt.duration_ms
    FROM recent
    JOIN notifier.attempts AS attempt ON attempt.delivery_id = recent.id
), waiting AS (
    SELECT count(*) AS pending, min(created_at) AS oldest
    FROM notifier.deliveries
    WHERE endpoint_id = :endpoint_id AND status = 'pending'
)
SELECT
    (SELECT count(*) FROM recent WHERE status = 'pending') AS pending,
    (SELECT count(*) FROM recent WHERE status = 'succeeded') AS succeeded,
    (SELECT count(*) FROM recent WHERE status = 'exhausted') AS exhausted,
    (SELECT count(*) FROM recent WHERE status = 'cancelled') AS cancelled,
    (SELECT count(*) FROM tried WHERE succeeded) AS attempts_succeeded,
    (SELECT count(*) FROM tried WHERE NOT succeeded) AS attempts_failed,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FROM tried) AS p50,
    (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FROM tried) AS p95,
    waiting.pending AS backlog,
    waiting.oldest AS oldest_pending_at,
    health.failures,
    health.failing_since,
    health.open_until
FROM waiting
LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = :endpoint_id;
