-- What the timeline asks of PostgreSQL. Every one of them begins from ids and finds its rows by an index.

-- name: what_is(id)
-- What an id names, the likeliest first, and the id by which it is looked up; none where nothing is known by it. An
-- event is known by its own id, by its sender's, by the task that GitHub's endpoint names, and by its number.
SELECT what, id
FROM (
    SELECT 1 AS place, 'saga' AS what, :id::text AS id
    WHERE EXISTS (SELECT FROM tracker.runs WHERE saga_id = :id)
       OR EXISTS (SELECT FROM tracker.asked WHERE saga_id = :id)
    UNION ALL
    SELECT 2, 'event', event_id FROM tracker.webhooks WHERE event_id = :id
    UNION ALL
    SELECT 3, 'delivery', delivery_id FROM tracker.deliveries WHERE delivery_id = :id
    UNION ALL
    SELECT 4, 'correlation', :id
    WHERE EXISTS (SELECT FROM tracker.webhooks WHERE correlation_id = :id)
       OR EXISTS (SELECT FROM tracker.runs WHERE correlation_id = :id)
    UNION ALL
    SELECT 5, 'event', event_id FROM tracker.webhooks WHERE task_id = :id
    UNION ALL
    SELECT 6, 'event', event_id FROM tracker.webhooks WHERE delivery_id = :id
    UNION ALL
    SELECT 7, 'event', event_id
    FROM tracker.webhooks
    WHERE number = CASE WHEN :id ~ '^[0-9]{1,18}$' THEN :id::bigint END
) AS known
ORDER BY place
LIMIT 1;

-- name: events_of(what, id, limit)
-- The webhooks that the id is about, the first ones first. A child's is its parents'.
SELECT event_id
FROM (
    SELECT event_id, received_at, number
    FROM tracker.webhooks
    WHERE :what = 'correlation' AND correlation_id = :id
    UNION
    SELECT event_id, received_at, number FROM tracker.webhooks WHERE :what = 'event' AND event_id = :id
    UNION
    SELECT webhooks.event_id, received_at, number
    FROM tracker.asked
    JOIN tracker.webhooks USING (event_id)
    WHERE :what = 'saga' AND asked.saga_id = :id
    UNION
    SELECT webhooks.event_id, webhooks.received_at, webhooks.number
    FROM tracker.deliveries
    JOIN tracker.links USING (saga_id, run)
    JOIN tracker.webhooks ON webhooks.event_id = links.event_id
    WHERE :what = 'delivery' AND deliveries.delivery_id = :id
) AS found
ORDER BY received_at, number
LIMIT :limit;

-- name: runs_of(what, id, event_ids, limit)
-- The runs that the id is about, and those of all sagas below them: `root` for the former. The first ones first.
WITH RECURSIVE roots AS (
    SELECT saga_id, run FROM tracker.runs WHERE :what = 'saga' AND saga_id = :id
    UNION
    SELECT saga_id, run FROM tracker.deliveries WHERE :what = 'delivery' AND delivery_id = :id
    UNION
    SELECT saga_id, run
    FROM tracker.links
    WHERE :what IN ('correlation', 'event') AND event_id = ANY (:event_ids::text[])
    UNION
    SELECT saga_id, run
    FROM tracker.runs
    WHERE :what = 'correlation' AND correlation_id = :id AND parent IS NULL
), below (saga_id, run, root) AS (
    SELECT saga_id, run, TRUE FROM roots
    UNION
    SELECT child.saga_id, child.run, FALSE
    FROM below
    JOIN tracker.runs USING (saga_id, run)
    CROSS JOIN LATERAL json_array_elements(runs.steps) AS step
    JOIN tracker.runs AS child
      ON child.saga_id = step ->> 'child_id' AND (child.parent ->> 'run')::bigint = runs.run
), known AS (
    SELECT saga_id, run, bool_or(root) AS root FROM below GROUP BY saga_id, run
)
SELECT known.root, saga_id, run, sequence, name, version, state, held, coalesce(reason, error) AS error, parent, source,
       correlation_id, started_at, updated_at, finished_at, steps
FROM known
JOIN tracker.runs USING (saga_id, run)
ORDER BY started_at, number
LIMIT :limit;

-- name: webhook_rows(event_ids)
SELECT event_id, number, source, correlation_id, event_type, received_at, delivery_id, content_type, size
FROM tracker.webhooks
WHERE event_id = ANY (:event_ids::text[]);

-- name: route_rows(event_ids)
SELECT routes.event_id, routes.number, outcome, reason, sagas, errors, routed_at, reprocess, correlation_id
FROM tracker.routes
LEFT JOIN tracker.webhooks USING (event_id)
WHERE event_id = ANY (:event_ids::text[]);

-- name: link_rows(saga_ids, runs)
SELECT event_id, saga_id, run, linked_at
FROM tracker.links
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run);

-- name: history_rows(saga_ids, runs, partitions, told, until, all_of_them, limit)
-- The events of the runs, those of each partition in its order: after the offset `told`, and up to `until` unless all
-- are asked for.
SELECT number, saga_id, run, sequence, at, type, state, step, progress, message, metadata, correlation_id, traceparent
FROM tracker.history
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run)
LEFT JOIN unnest(:partitions::int[], :told::bigint[], :until::bigint[]) AS mark (partition, told, until)
  ON mark.partition = (number & 65535)
WHERE (number >> 16) > coalesce(mark.told, -1)
  AND (:all_of_them::boolean OR (number >> 16) <= coalesce(mark.until, -1))
ORDER BY number
LIMIT :limit;

-- name: delivery_rows(saga_ids, runs, delivery_ids, limit)
-- Of the runs, and of them alone those that are named, where any is.
SELECT delivery_id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts, error,
       status_code, next_attempt_at, first_at, updated_at
FROM tracker.deliveries
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run)
WHERE :delivery_ids::text[] IS NULL OR delivery_id = ANY (:delivery_ids::text[])
ORDER BY first_at, delivery_id
LIMIT :limit;

-- name: delivery_attempt_rows(delivery_ids)
SELECT delivery_id, attempt, what, number, at, status_code, error, next_attempt_at
FROM tracker.delivery_attempts
WHERE delivery_id = ANY (:delivery_ids::text[]);

-- name: step_times(saga_id, run)
-- How long each step's action took, from its first attempt's start to its last one's end; those that have ended.
SELECT step, max(completed_at) - min(started_at) AS took
FROM tracker.attempts
WHERE saga_id = :saga_id AND run = :run AND phase = 'action'
GROUP BY step
HAVING bool_and(completed_at IS NOT NULL AND started_at IS NOT NULL);
