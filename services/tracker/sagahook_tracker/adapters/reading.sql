-- What the routes of api.md §3, §4 and §7 ask of the views. Lists are planned for the values that are given
-- (plan_for_these_values): a filter that is not there costs nothing, and one that is finds its index.

-- name: plan_for_these_values#
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: find_events(source, event_type, correlation_id, delivery_id, task_id, processed, received_before, received_after, after_time, after_number, skip, how_many)
-- The newest first. A parameter that is null asks for nothing. position: what after_time takes. Whether one is processed
-- is looked up for each row by itself (OFFSET 0 keeps it from being joined: of the million that match, a page shows
-- fifty), among those that are not: they are few, and have an index of their own.
WITH page AS (
    SELECT *
    FROM tracker.webhooks
    WHERE (:source::text IS NULL OR source = :source::text)
      AND (:event_type::text IS NULL OR event_type = :event_type::text)
      AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
      AND (:delivery_id::text IS NULL OR delivery_id = :delivery_id::text)
      AND (:task_id::text IS NULL
           OR event_id = ANY (ARRAY(SELECT event_id FROM tracker.asked WHERE saga_id = :task_id::text)))
      AND (:processed::boolean IS NULL
           OR :processed::boolean = NOT EXISTS (
               SELECT
               FROM tracker.standings
               WHERE NOT standings.processed AND standings.number IS NOT NULL
                 AND (standings.received_at, standings.number) = (webhooks.received_at, webhooks.number)
               OFFSET 0
           ))
      AND (:received_before::timestamptz IS NULL OR received_at < :received_before::timestamptz)
      AND (:received_after::timestamptz IS NULL OR received_at > :received_after::timestamptz)
      AND (:after_time::text IS NULL
           OR (received_at, number) < (:after_time::text::timestamptz, :after_number::bigint))
    ORDER BY received_at DESC, number DESC
    OFFSET :skip::bigint
    LIMIT :how_many::bigint
)
SELECT page.event_id, page.number, page.source, page.event_type, page.correlation_id, page.delivery_id,
       page.received_at, coalesce(standings.processed, FALSE) AS processed, page.received_at::text AS position,
       CASE WHEN standings.outcome IN ('failed', 'completed_with_failures') THEN (
           SELECT coalesce(
               (
                   SELECT runs.error
                   FROM tracker.links
                   JOIN tracker.runs USING (saga_id, run)
                   WHERE links.event_id = page.event_id AND runs.status = 'failed'
                   ORDER BY runs.number DESC
                   LIMIT 1
               ),
               (
                   SELECT coalesce(reason, errors -> 0 ->> 'error')
                   FROM tracker.routes
                   WHERE routes.event_id = page.event_id
                   ORDER BY number DESC
                   LIMIT 1
               )
           )
       ) END AS error_message
FROM page
LEFT JOIN tracker.standings USING (event_id)
ORDER BY page.received_at DESC, page.number DESC;

-- name: find_open_events(source, event_type, correlation_id, delivery_id, task_id, received_before, received_after, after_time, after_number, skip, how_many)
-- Those that are not processed yet, as find_events gives them: they are few, and have an index of their own. None of
-- them has failed yet.
SELECT webhooks.event_id, webhooks.number, source, event_type, correlation_id, delivery_id, webhooks.received_at,
       FALSE AS processed, webhooks.received_at::text AS position, NULL::text AS error_message
FROM tracker.standings
JOIN tracker.webhooks USING (event_id)
WHERE NOT standings.processed AND standings.number IS NOT NULL
  AND (:source::text IS NULL OR source = :source::text)
  AND (:event_type::text IS NULL OR event_type = :event_type::text)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
  AND (:delivery_id::text IS NULL OR delivery_id = :delivery_id::text)
  AND (:task_id::text IS NULL
       OR event_id = ANY (ARRAY(SELECT event_id FROM tracker.asked WHERE saga_id = :task_id::text)))
  AND (:received_before::timestamptz IS NULL OR standings.received_at < :received_before::timestamptz)
  AND (:received_after::timestamptz IS NULL OR standings.received_at > :received_after::timestamptz)
  AND (:after_time::text IS NULL
       OR (standings.received_at, standings.number) < (:after_time::text::timestamptz, :after_number::bigint))
ORDER BY standings.received_at DESC, standings.number DESC
OFFSET :skip::bigint
LIMIT :how_many::bigint;

-- name: one_event(event_id, number)
-- By its event id or by its number, of which the other is null. sagas: those of its newest route.
SELECT event_id, webhooks.number, source, event_type, correlation_id, delivery_id, task_id, webhooks.received_at,
       content_type, size, headers, routed_at, coalesce(reprocessed, 0) AS retry_count,
       coalesce(processed, FALSE) AS processed, outcome,
       CASE WHEN processed THEN greatest(routed_at, settled_at) END AS completed_at,
       greatest(webhooks.received_at, routed_at, settled_at) AS updated_at,
       route.sagas, route.reason, route.error AS route_error,
       (
           SELECT runs.error
           FROM tracker.links
           JOIN tracker.runs USING (saga_id, run)
           WHERE links.event_id = webhooks.event_id AND runs.status = 'failed'
           ORDER BY runs.number DESC
           LIMIT 1
       ) AS saga_error
FROM tracker.webhooks
LEFT JOIN tracker.standings USING (event_id)
LEFT JOIN LATERAL (
    SELECT sagas, reason, errors -> 0 ->> 'error' AS error
    FROM tracker.routes
    WHERE routes.event_id = webhooks.event_id
    ORDER BY number DESC
    LIMIT 1
) AS route ON TRUE
WHERE event_id = coalesce(
    :event_id::text, (SELECT event_id FROM tracker.webhooks WHERE number = :number::bigint)
);

-- name: event_of_task(task_id)
-- The newest event that the id stands for: its own, or that which its sender was told (identity.webhook_task_id).
SELECT event_id
FROM tracker.webhooks
WHERE event_id = :task_id OR task_id = :task_id
ORDER BY received_at DESC, number DESC
LIMIT 1;

-- name: asked_saga(saga_id)
-- A saga that was asked for, whether it has started or not: by the first event that did.
SELECT name, event_id, correlation_id, asked_at
FROM tracker.asked
WHERE saga_id = :saga_id
ORDER BY asked_at, event_id
LIMIT 1;

-- name: find_tasks(status, name, correlation_id, event_id, attributes, after_time, after_number, skip, how_many)
-- The newest run of each saga, those that started last first. A parameter that is null asks for nothing.
SELECT number, saga_id, run, name, state, status, attributes, correlation_id, started_at, updated_at, finished_at,
       coalesce(attributes ->> 'codegen_task_url', result ->> 'codegen_task_url') AS codegen_task_url,
       coalesce(reason, error) AS error, coalesce(started_at, '-infinity'::timestamptz)::text AS position
FROM tracker.runs
WHERE (:status::text IS NULL OR status = :status::text)
  AND (:name::text IS NULL OR name = :name::text)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
  AND (:event_id::text IS NULL
       OR saga_id = ANY (ARRAY(SELECT saga_id FROM tracker.links WHERE event_id = :event_id::text)))
  AND (:attributes::jsonb[] IS NULL
       OR (attributes IS NOT NULL AND attributes @> ANY (:attributes::jsonb[])))
  AND (:after_time::text IS NULL
       OR (coalesce(started_at, '-infinity'::timestamptz), number)
          < (:after_time::text::timestamptz, :after_number::bigint))
  AND NOT EXISTS (
      SELECT
      FROM tracker.runs AS newer
      WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run AND newer.run > 1  -- few, by runs_again
      OFFSET 0  -- for each row by itself
  )
ORDER BY coalesce(started_at, '-infinity'::timestamptz) DESC, number DESC
OFFSET :skip::bigint
LIMIT :how_many::bigint;

-- name: find_tasks_by_word(attribute, word, status, name, correlation_id, event_id, attributes, after_time, after_number, skip, how_many)
-- The same of those that have an attribute of that word, from the rows that are kept for it.
SELECT runs.number, saga_id, run, runs.name, state, status, attributes, correlation_id, runs.started_at, updated_at,
       finished_at, coalesce(attributes ->> 'codegen_task_url', result ->> 'codegen_task_url') AS codegen_task_url,
       coalesce(reason, error) AS error, listed.started_at::text AS position
FROM tracker.attributes AS listed
JOIN tracker.runs ON (coalesce(runs.started_at, '-infinity'::timestamptz), runs.number) = (listed.started_at, listed.number)
WHERE listed.attribute = :attribute AND listed.word = :word
  AND (:status::text IS NULL OR status = :status::text)
  AND (:name::text IS NULL OR name = :name::text)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
  AND (:event_id::text IS NULL
       OR saga_id = ANY (ARRAY(SELECT saga_id FROM tracker.links WHERE event_id = :event_id::text)))
  AND coalesce(attributes @> ANY (:attributes::jsonb[]), FALSE)  -- nearly all; PostgreSQL would guess hardly any
  AND (:after_time::text IS NULL
       OR (listed.started_at, listed.number) < (:after_time::text::timestamptz, :after_number::bigint))
  AND NOT EXISTS (
      SELECT
      FROM tracker.runs AS newer
      WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run AND newer.run > 1  -- few, by runs_again
      OFFSET 0  -- for each row by itself
  )
ORDER BY listed.started_at DESC, listed.number DESC
OFFSET :skip::bigint
LIMIT :how_many::bigint;

-- name: task_attempts(saga_id, how_many)
-- Of all runs, in the order in which they began; of very many the newest.
SELECT *
FROM (
    SELECT number, run, step, phase, attempt, started_at, completed_at, status, error, duration_ms, participant
    FROM tracker.attempts
    WHERE saga_id = :saga_id
    ORDER BY number DESC, step DESC
    LIMIT :how_many::bigint
) AS newest
ORDER BY number, step;

-- name: webhook_number(event_id)
SELECT number
FROM tracker.webhooks
WHERE event_id = :event_id;

-- name: task_history(saga_ids, since, how_many)
-- The newest first. Numbers of one saga grow with its events.
SELECT told.*, runs.name, coalesce(told.own_correlation_id, runs.correlation_id) AS correlation_id
FROM unnest(:saga_ids::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT number, saga_id, run, at, type, status, state, step, progress, message, metadata,
           correlation_id AS own_correlation_id
    FROM tracker.history
    WHERE saga_id = wanted.id AND at >= :since::timestamptz
    ORDER BY number DESC
    LIMIT :how_many::bigint
) AS told
LEFT JOIN tracker.runs USING (saga_id, run)
ORDER BY at DESC, number DESC
LIMIT :how_many::bigint;

-- name: recent_history(topic, since, how_many)
-- Of all sagas, the newest first. Within a partition of the log the newest have the highest numbers. places: how much
-- of the topic stands behind this answer, as {partition: next offset}.
SELECT told.*, runs.name, coalesce(told.own_correlation_id, runs.correlation_id) AS correlation_id
FROM tracker.offsets
CROSS JOIN LATERAL (
    SELECT number, saga_id, run, at, type, status, state, step, progress, message, metadata,
           correlation_id AS own_correlation_id
    FROM tracker.history
    WHERE (number & 65535) = offsets.partition AND at >= :since::timestamptz
    ORDER BY number DESC
    LIMIT :how_many::bigint
) AS told
LEFT JOIN tracker.runs USING (saga_id, run)
WHERE offsets.topic = :topic
ORDER BY at DESC, number DESC
LIMIT :how_many::bigint;

-- name: places(topic)
SELECT partition, next_offset
FROM tracker.offsets
WHERE topic = :topic;

-- name: history_after(partitions, numbers, saga_ids, correlation_id, name, how_many)
-- From the given number on in each partition of the log, at most so many of each, in their order: the time never goes
-- back within a partition.
SELECT told.*, runs.name, coalesce(told.own_correlation_id, runs.correlation_id) AS correlation_id
FROM unnest(:partitions::int[], :numbers::bigint[]) AS place (partition, first)
CROSS JOIN LATERAL (
    SELECT number, saga_id, run, at, type, status, state, step, progress, message, metadata,
           correlation_id AS own_correlation_id
    FROM tracker.history
    WHERE (number & 65535) = place.partition AND number >= place.first
      AND (:saga_ids::text[] IS NULL OR saga_id = ANY (:saga_ids::text[]))
      AND (:correlation_id::text IS NULL AND :name::text IS NULL OR EXISTS (
          SELECT
          FROM tracker.runs
          WHERE (runs.saga_id, runs.run) = (history.saga_id, history.run)
            AND (:name::text IS NULL OR runs.name = :name::text)
            AND (:correlation_id::text IS NULL
                 OR coalesce(history.correlation_id, runs.correlation_id) = :correlation_id::text)
      ))
    ORDER BY number
    LIMIT :how_many::bigint
) AS told
LEFT JOIN tracker.runs USING (saga_id, run)
ORDER BY at, (told.number & 65535), told.number;

-- name: totals(since)
-- Sums of the rollups: since ever (null), or of the minutes from `since` on.
SELECT kind, type, outcome, sum(count)::bigint AS count, sum(total_ms)::bigint AS total_ms
FROM tracker.rollups
WHERE (:since::timestamptz IS NULL AND minute = '-infinity' OR minute >= :since::timestamptz)
GROUP BY kind, type, outcome;
