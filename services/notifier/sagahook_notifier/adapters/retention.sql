-- What is let go. Times come from the caller's clock. Whatever is deleted here can change no more, unless somebody asks for
-- it at this moment: what is locked is left for the next time.

-- name: load_read_until()$
-- Up to where every partition has been read; NULL where that is not known of one.
SELECT CASE WHEN bool_and(read_until IS NOT NULL) THEN min(read_until) END
FROM notifier.offsets;

-- name: raise_fence(before)!
-- It never goes back. Waits for the transactions of intake that began with the one before (intake.sql: keep).
UPDATE notifier.fence
SET before = :before
WHERE before < :before;

-- name: endpoint_ids()
SELECT id
FROM notifier.endpoints
ORDER BY id;

-- name: expire_deliveries(endpoints, statuses, before, how_many)$
-- How many of these endpoints' deliveries are gone, with their attempts: those that came to their end before. Found through
-- the index that lists an endpoint's newest, from its other end, so that dispatch has no further index to write.
WITH old AS MATERIALIZED (
    SELECT delivery.id
    FROM unnest(:endpoints::text[]) AS endpoint (id)
    CROSS JOIN LATERAL (
        SELECT id
        FROM notifier.deliveries
        WHERE endpoint_id = endpoint.id AND created_at < :before AND finished_at < :before
          AND status = ANY (:statuses::text[])
        ORDER BY created_at
        LIMIT :how_many::bigint
        FOR UPDATE SKIP LOCKED
    ) AS delivery
    LIMIT :how_many
), gone AS (
    DELETE FROM notifier.deliveries
    WHERE id = ANY (ARRAY(SELECT id FROM old))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: expire_sagas(before, how_many)$
-- How many sagas that were over before are remembered no more, nor who waited for them.
WITH old AS MATERIALIZED (
    SELECT saga_id
    FROM notifier.sagas
    WHERE ended_at < :before
    ORDER BY ended_at
    LIMIT :how_many::bigint
    FOR UPDATE SKIP LOCKED
), waited AS (
    DELETE FROM notifier.subscriptions
    WHERE saga_id = ANY (ARRAY(SELECT saga_id FROM old))
), gone AS (
    DELETE FROM notifier.sagas
    WHERE saga_id = ANY (ARRAY(SELECT saga_id FROM old))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: hold_fence()#
-- Until the transaction ends, intake keeps nothing.
SELECT FROM notifier.fence FOR UPDATE;

-- name: expire_callers(before, how_many)$
-- How many endpoints that a webhook named for itself are gone: they have no deliveries any more, and wait for nothing.
WITH idle AS MATERIALIZED (
    SELECT id
    FROM notifier.endpoints
    WHERE origin = 'notify_url' AND updated_at < :before
      AND NOT EXISTS (SELECT FROM notifier.deliveries WHERE endpoint_id = endpoints.id)
      AND NOT EXISTS (SELECT FROM notifier.subscriptions WHERE endpoint_id = endpoints.id)
    LIMIT :how_many::bigint
), gone AS (
    DELETE FROM notifier.endpoints
    WHERE id = ANY (ARRAY(SELECT id FROM idle))
    RETURNING 1
)
SELECT count(*) FROM gone;
