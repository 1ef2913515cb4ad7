-- What is asked of PostgreSQL about work that does not go on. Pages of the newest go by the partial index on status, or
-- by runs_failed.

-- name: stuck_runs(kind, name, before, limit)
-- Runs that may be stuck, those without change the longest first; what is overdue is judged by their definitions, and
-- here only what cannot be is left out. before: changed before this time. failed: effects are left behind.
SELECT saga_id, run, number, sequence, name, version, state, user_id, total_steps, steps, completed_steps, failed_step,
       error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent, limit_key, deadline_at,
       progress, message, unresolved, cause, acts, event_id, held, started_at, updated_at, finished_at
FROM tracker.runs
WHERE CASE :kind
    WHEN 'failed' THEN state = 'FAILED' AND json_array_length(unresolved) > 0
    WHEN 'suspended' THEN status = 'running' AND state = 'SUSPENDED'
    WHEN 'held' THEN status = 'pending' AND held AND updated_at < :before::timestamptz
    ELSE status IN ('pending', 'running') AND state <> 'SUSPENDED' AND NOT held
     AND (deadline_at < :before::timestamptz
          OR (state <> 'PENDING' AND updated_at < :before::timestamptz AND (
              EXISTS (
                  SELECT FROM json_array_elements(steps) AS step
                  WHERE (step ->> 'due_at')::timestamptz < :before::timestamptz
                     OR (step ->> 'due_at' IS NULL AND step ->> 'child_id' IS NULL
                         AND step ->> 'status' IN ('preparing', 'running', 'compensating'))
              )
              OR NOT EXISTS (
                  SELECT FROM json_array_elements(steps) AS step
                  WHERE step ->> 'status' IN ('preparing', 'running', 'compensating', 'waiting', 'retrying')
              )
          )))
END
  AND status <> 'completed'
  AND NOT EXISTS (
      SELECT FROM tracker.runs AS newer WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run
  )
  AND (:name::text IS NULL OR name = :name::text)
ORDER BY updated_at, number
LIMIT :limit;

-- name: stuck_counts()^
-- How many sagas are in each kind but overdue; with the webhook that waits longest, and the one of which no router has
-- told anything yet.
SELECT count(*) FILTER (WHERE state = 'SUSPENDED') AS suspended,
       count(*) FILTER (WHERE held AND state = 'PENDING') AS held,
       (
           SELECT count(*)
           FROM tracker.runs AS failed
           WHERE failed.state = 'FAILED' AND json_array_length(failed.unresolved) > 0 AND NOT EXISTS (
               SELECT FROM tracker.runs AS newer WHERE newer.saga_id = failed.saga_id AND newer.run > failed.run
           )
       ) AS failed,
       (SELECT min(received_at) FROM tracker.standings WHERE NOT processed AND number IS NOT NULL) AS oldest_received_at,
       (
           SELECT min(received_at) FROM tracker.standings
           WHERE NOT processed AND number IS NOT NULL AND routed_at IS NULL
       ) AS oldest_unrouted_at
FROM tracker.runs
WHERE status IN ('pending', 'running');

-- name: oldest_webhooks(limit)
-- Those that were received the longest ago and are not final.
SELECT webhooks.event_id, webhooks.number, source, event_type, correlation_id, webhooks.received_at,
       standings.outcome, standings.open
FROM tracker.standings
JOIN tracker.webhooks USING (event_id)
WHERE NOT standings.processed AND standings.number IS NOT NULL
ORDER BY standings.received_at, standings.number
LIMIT :limit;

-- name: pauses()
SELECT kind, name FROM tracker.controls WHERE paused;

-- name: definitions_of(names, versions)
SELECT definition
FROM tracker.definitions
JOIN unnest(:names::text[], :versions::bigint[]) AS wanted (name, version) USING (name, version);
