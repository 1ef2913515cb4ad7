-- Dispatch: what is due, taken under leases, and what became of it. Times come from the caller's clock. Lists travel as
-- arrays, so that a batch of any size is one statement.

-- name: waiting()
-- The endpoints that something waits for, be it held or not due yet.
SELECT endpoint_id FROM notifier.waiting_endpoints;

-- name: next_due(endpoints)
-- When the next delivery of each endpoint can be claimed; endpoints without one are left out. Leases count only as far as
-- the beginning of a queue goes: where more of it is leased, whoever holds them will look.
SELECT endpoint.id, greatest(queue.at, health.open_until, health.empty_at + make_interval(secs => 1 / endpoint.rate_per_second)) AS at
FROM notifier.endpoints AS endpoint
LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = endpoint.id
CROSS JOIN LATERAL (
    SELECT min(greatest(first.claimable_at, first.leased_until)) AS at
    FROM (
        (
            SELECT claimable_at, leased_until
            FROM notifier.deliveries
            WHERE NOT endpoint.ordered AND status = 'pending' AND endpoint_id = endpoint.id
            ORDER BY claimable_at
            LIMIT 64
        )
        UNION ALL
        (
            SELECT claimable_at, leased_until
            FROM notifier.deliveries
            WHERE endpoint.ordered AND status = 'pending' AND endpoint_id = endpoint.id
            ORDER BY number
            LIMIT 1
        )
    ) AS first
) AS queue
WHERE endpoint.id = ANY (:endpoints::text[]) AND endpoint.active AND queue.at IS NOT NULL;

-- name: hold_to_rates(endpoints)!
-- What `claim` locks of an endpoint whose rate is limited must be there: two dispatchers that took its first tokens at
-- the same moment would each take all of them.
INSERT INTO notifier.endpoint_health (endpoint_id)
SELECT endpoint.id
FROM notifier.endpoints AS endpoint
LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = endpoint.id
WHERE endpoint.id = ANY (:endpoints::text[]) AND endpoint.rate_per_second IS NOT NULL AND health.endpoint_id IS NULL
FOR KEY SHARE OF endpoint
ON CONFLICT DO NOTHING;

-- name: claim(now, token, lease_ends, endpoints, rooms)
-- Take due deliveries under a lease, of each endpoint at most so many as there is room; of an ordered one the first in its
-- line alone. An endpoint whose circuit is open, or whose rate is limited, is one dispatcher's at a time (guarded): the
-- one takes its only probe, or tokens of its bucket, before the next one looks.
-- A claim that the database forgets in a crash is made again, so that it need not wait for the disk.
WITH relaxed AS (
    SELECT set_config('synchronous_commit', 'off', TRUE)
), asked AS (
    SELECT
        endpoint.id, endpoint.ordered, endpoint.rate_per_second AS rate, endpoint.rate_burst AS burst, given.room
    FROM relaxed, unnest(:endpoints::text[], :rooms::int[]) AS given (endpoint_id, room)
    JOIN notifier.endpoints AS endpoint ON endpoint.id = given.endpoint_id AND endpoint.active
), guarded AS (
    SELECT health.endpoint_id, health.open_until, health.empty_at
    FROM notifier.endpoint_health AS health
    JOIN asked ON asked.id = health.endpoint_id
    WHERE health.open_until IS NOT NULL OR asked.rate IS NOT NULL
    FOR UPDATE OF health SKIP LOCKED
), passing AS (
    SELECT
        asked.id, asked.ordered, asked.rate, asked.room,
        guarded.open_until IS NOT NULL AS probe,
        health.failing_since IS NOT NULL AS ailing,
        greatest(guarded.empty_at, :now::timestamptz - make_interval(secs => asked.burst / asked.rate)) AS empty_at
    FROM asked
    LEFT JOIN guarded ON guarded.endpoint_id = asked.id
    LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = asked.id
    WHERE CASE
        WHEN guarded.endpoint_id IS NOT NULL THEN coalesce(guarded.open_until <= :now, TRUE)
        ELSE health.endpoint_id IS NULL OR (health.open_until IS NULL AND asked.rate IS NULL)
    END
), ready AS (
    SELECT
        *,
        least(
            room,
            CASE WHEN probe THEN 1 END,
            floor(extract(epoch FROM :now::timestamptz - empty_at) * rate + 0.000001)
        )::int AS places
    FROM passing
), loose AS (
    SELECT next.id
    FROM ready
    CROSS JOIN LATERAL (
        SELECT id
        FROM notifier.deliveries
        WHERE status = 'pending' AND endpoint_id = ready.id AND claimable_at <= :now
          AND (leased_until IS NULL OR leased_until <= :now)
        ORDER BY claimable_at
        LIMIT ready.places
        FOR UPDATE SKIP LOCKED
    ) AS next
    WHERE NOT ready.ordered
), heads AS (
    SELECT head.id
    FROM ready
    CROSS JOIN LATERAL (
        SELECT id
        FROM notifier.deliveries
        WHERE status = 'pending' AND endpoint_id = ready.id
        ORDER BY number
        LIMIT 1
    ) AS head
    WHERE ready.ordered AND ready.places > 0
), in_line AS (
    -- Apart from finding it: a first one that is locked must not make the second one the first.
    SELECT id
    FROM notifier.deliveries
    WHERE id = ANY (ARRAY(SELECT id FROM heads)) AND status = 'pending' AND claimable_at <= :now
      AND (leased_until IS NULL OR leased_until <= :now)
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE notifier.deliveries
    SET lease_token = :token, leased_until = :lease_ends
    WHERE id = ANY (ARRAY(SELECT id FROM loose UNION ALL SELECT id FROM in_line))
    RETURNING
        id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type, attempts, attempts_before,
        number, traceparent
), spent AS (
    INSERT INTO notifier.endpoint_health (endpoint_id, open_until, empty_at)
    SELECT
        ready.id,
        CASE WHEN ready.probe THEN :lease_ends::timestamptz END,
        ready.empty_at + make_interval(secs => taken.count / ready.rate)
    FROM (SELECT endpoint_id, count(*) FROM claimed GROUP BY endpoint_id) AS taken
    JOIN ready ON ready.id = taken.endpoint_id
    WHERE ready.probe OR ready.rate IS NOT NULL
    ON CONFLICT (endpoint_id) DO UPDATE SET open_until = excluded.open_until, empty_at = excluded.empty_at
)
SELECT claimed.*, ready.probe, ready.ailing, endpoint.xmin::text AS version
FROM claimed
JOIN ready ON ready.id = claimed.endpoint_id
JOIN notifier.endpoints AS endpoint ON endpoint.id = claimed.endpoint_id
ORDER BY claimed.number;

-- name: record_attempts(ids, tokens, statuses, claimable, attempts, started, durations, request_headers, status_codes, response_headers, response_excerpts, phases, errors, now, message_places, message_headers, message_payloads)
-- What became of claimed deliveries, their attempts, and what is to be published of them: all three for those
-- whose lease is still ours, nothing for the others. Returns the places (from 1) of the former.
WITH given AS (
    SELECT * FROM unnest(
        :ids::text[], :tokens::uuid[], :statuses::text[], :claimable::timestamptz[], :attempts::int[],
        :started::timestamptz[], :durations::real[], :request_headers::text[], :status_codes::int[],
        :response_headers::text[], :response_excerpts::text[], :phases::text[], :errors::text[]
    ) WITH ORDINALITY AS given (
        id, token, status, claimable_at, attempt, started_at, duration_ms, request_headers, status_code,
        response_headers, response_excerpt, phases, error, place
    )
), recorded AS (
    UPDATE notifier.deliveries AS delivery
    SET status = given.status,
        attempts = given.attempt,
        claimable_at = given.claimable_at,
        lease_token = NULL,
        leased_until = NULL,
        finished_at = CASE WHEN given.status <> 'pending' THEN :now::timestamptz END
    FROM given
    WHERE delivery.id = given.id AND delivery.lease_token = given.token
    RETURNING given.place
), logged AS (
    INSERT INTO notifier.attempts (
        delivery_id, attempt, started_at, duration_ms, request_headers, status_code, response_headers,
        response_excerpt, phases, error
    )
    SELECT
        id, attempt, started_at, duration_ms, request_headers::jsonb, status_code, response_headers::jsonb,
        response_excerpt, phases::jsonb, error
    FROM given
    JOIN recorded USING (place)
), published AS (
    INSERT INTO notifier.outbox (keys, headers, payloads)
    SELECT
        array_agg(given.id ORDER BY message.position),
        array_agg(message.headers ORDER BY message.position),
        array_agg(message.payload ORDER BY message.position)
    FROM unnest(:message_places::bigint[], :message_headers::text[], :message_payloads::text[]) WITH ORDINALITY
        AS message (place, headers, payload, position)
    JOIN recorded USING (place)
    JOIN given USING (place)
    HAVING count(*) > 0
)
SELECT place FROM recorded;

-- name: health(endpoints)
-- In one order, so that two dispatchers that record for the same endpoints wait for each other and never both.
SELECT endpoint_id, failures, openings, open_until, failing_since, error
FROM notifier.endpoint_health
WHERE endpoint_id = ANY (:endpoints::text[])
ORDER BY endpoint_id
FOR UPDATE;

-- name: put_health(endpoints, failures, openings, open_until, failing_since, errors)!
INSERT INTO notifier.endpoint_health (endpoint_id, failures, openings, open_until, failing_since, error)
SELECT *
FROM unnest(
    :endpoints::text[], :failures::int[], :openings::int[], :open_until::timestamptz[], :failing_since::timestamptz[],
    :errors::text[]
)
ON CONFLICT (endpoint_id) DO UPDATE SET
    failures = excluded.failures,
    openings = excluded.openings,
    open_until = excluded.open_until,
    failing_since = excluded.failing_since,
    error = excluded.error;

-- name: disable(endpoints, reasons, now)
-- By ourselves; a person enables them again. Returns those that were not disabled before.
UPDATE notifier.endpoints AS endpoint
SET disabled_at = :now, disabled_reason = given.reason, updated_at = :now
FROM unnest(:endpoints::text[], :reasons::text[]) AS given (id, reason)
WHERE endpoint.id = given.id AND endpoint.active
RETURNING endpoint.id, endpoint.url, endpoint.disabled_reason AS reason;

-- name: release(ids, tokens)!
-- Give leases back unused: others may take the deliveries at once.
UPDATE notifier.deliveries
SET lease_token = NULL, leased_until = NULL
WHERE id = ANY (:ids::text[]) AND lease_token = ANY (:tokens::uuid[]);

-- name: give_back_probes(endpoints, now)!
-- Of open circuits: the next attempt may be the probe.
UPDATE notifier.endpoint_health
SET open_until = :now
WHERE endpoint_id = ANY (:endpoints::text[]) AND open_until IS NOT NULL;

-- name: listeners(event_type)
-- Who hears of what happens to other endpoints.
SELECT id, payload_format
FROM notifier.endpoints
WHERE active AND origin <> 'notify_url' AND :event_type = ANY (event_types);

-- name: add_operational(ids, endpoint_ids, event_ids, event_type, bodies, content_types, now)!
-- Deliveries about endpoints, and about no saga.
INSERT INTO notifier.deliveries (
    id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, content_type,
    status, attempts, claimable_at, created_at
)
SELECT given.id, given.endpoint_id, given.event_id, :event_type, '', 0, '', given.body, given.content_type, 'pending', 0, :now, :now
FROM unnest(:ids::text[], :endpoint_ids::text[], :event_ids::text[], :bodies::bytea[], :content_types::text[])
    AS given (id, endpoint_id, event_id, body, content_type)
ON CONFLICT (id) DO NOTHING;
