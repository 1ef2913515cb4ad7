-- What the views let go. Whatever is deleted row by row can change no more: nobody waits for its lock.

-- name: close_gate#
-- Every transaction of a projector begins by moving its offsets: those that run end first, and others wait until this
-- one is over. Readers do not notice.
LOCK TABLE tracker.offsets IN EXCLUSIVE MODE;

-- name: raise_cutoff(kind, before, rows)!
-- A cut-off never goes back: what was let go does not come again but by a rebuild.
INSERT INTO tracker.cutoffs AS known (kind, before, rows)
VALUES (:kind, :before, :rows)
ON CONFLICT (kind) DO UPDATE
SET before = greatest(known.before, excluded.before), rows = least(known.rows, excluded.rows);

-- name: load_cutoffs()
SELECT kind, before, rows
FROM tracker.cutoffs;

-- name: partitions(parent)
-- Their names, of a table of this schema.
SELECT child.relname AS name
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
WHERE parent.relname = :parent AND parent.relnamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = 'tracker.offsets'::regclass
)
ORDER BY child.relname;

-- name: expire_events(before, after_time, after_number, how_many)^
-- Of the next `how_many` webhooks from before: the position of the last one; and lets go of those that are processed
-- and whose sagas have all ended, none of them failed (an operator may run it again), with everything that names them. looked: how many were looked at.
WITH looked AS MATERIALIZED (
    SELECT event_id, received_at, number
    FROM tracker.webhooks
    WHERE received_at < :before
      AND (received_at, number) > (:after_time::timestamptz, :after_number::bigint)
    ORDER BY received_at, number
    LIMIT :how_many::bigint
), over AS MATERIALIZED (
    SELECT event_id
    FROM looked
    JOIN tracker.standings USING (event_id)
    WHERE standings.processed AND NOT EXISTS (
        SELECT
        FROM tracker.links
        JOIN tracker.runs USING (saga_id, run)
        WHERE links.event_id = looked.event_id
          AND (runs.finished_at IS NULL OR runs.finished_at >= :before OR runs.updated_at >= :before
               OR (runs.state = 'FAILED' AND NOT EXISTS (
                   SELECT FROM tracker.runs AS newer WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run
               )))
    )
), gone_links AS (
    DELETE FROM tracker.links USING over WHERE links.event_id = over.event_id
), gone_asked AS (
    DELETE FROM tracker.asked USING over, tracker.routes, json_array_elements(routes.sagas) AS saga
    WHERE routes.event_id = over.event_id AND asked.event_id = over.event_id AND asked.saga_id = saga ->> 'saga_id'
), gone_routes AS (
    DELETE FROM tracker.routes USING over WHERE routes.event_id = over.event_id
), gone_standings AS (
    DELETE FROM tracker.standings USING over WHERE standings.event_id = over.event_id
), gone AS (
    DELETE FROM tracker.webhooks USING over WHERE webhooks.event_id = over.event_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM looked) AS looked, last.received_at AS last_time,
       last.number AS last_number
FROM (SELECT) AS one
LEFT JOIN (SELECT received_at, number FROM looked ORDER BY received_at DESC, number DESC LIMIT 1) AS last ON TRUE;

-- name: expire_runs(before, after_time, after_number, how_many)^
-- The same of runs that ended before. Kept are: what a webhook is linked to; a failed one that was not run again, which
-- waits for an operator; a child as long as its parent is there, which may undo it; and a run before an older one.
WITH looked AS MATERIALIZED (
    SELECT saga_id, run, finished_at, number, state, parent, updated_at
    FROM tracker.runs
    WHERE finished_at < :before
      AND (finished_at, number) > (:after_time::timestamptz, :after_number::bigint)
    ORDER BY finished_at, number
    LIMIT :how_many::bigint
), over AS MATERIALIZED (
    SELECT saga_id, run
    FROM looked
    WHERE updated_at < :before
      AND NOT EXISTS (SELECT FROM tracker.links WHERE (links.saga_id, links.run) = (looked.saga_id, looked.run))
      AND NOT EXISTS (
          SELECT FROM tracker.runs AS older WHERE older.saga_id = looked.saga_id AND older.run < looked.run
      )
      AND (state <> 'FAILED' OR EXISTS (
          SELECT FROM tracker.runs AS newer WHERE newer.saga_id = looked.saga_id AND newer.run > looked.run
      ))
      AND (parent IS NULL OR NOT EXISTS (
          SELECT
          FROM tracker.runs AS above
          WHERE above.saga_id = looked.parent ->> 'saga_id' AND above.run = (looked.parent ->> 'run')::bigint
      ))
), gone_attempts AS (
    DELETE FROM tracker.attempts USING over
    WHERE (attempts.saga_id, attempts.run) = (over.saga_id, over.run)
), gone AS (
    DELETE FROM tracker.runs USING over
    WHERE (runs.saga_id, runs.run) = (over.saga_id, over.run)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM looked) AS looked,
       last.finished_at AS last_time, last.number AS last_number
FROM (SELECT) AS one
LEFT JOIN (SELECT finished_at, number FROM looked ORDER BY finished_at DESC, number DESC LIMIT 1) AS last ON TRUE;

-- name: expire_deliveries(before, how_many)$
-- How many were let go: those of which nothing was heard since.
WITH over AS MATERIALIZED (
    SELECT delivery_id
    FROM tracker.deliveries
    WHERE updated_at < :before
    ORDER BY updated_at
    LIMIT :how_many::bigint
), gone_attempts AS (
    DELETE FROM tracker.delivery_attempts USING over WHERE delivery_attempts.delivery_id = over.delivery_id
), gone AS (
    DELETE FROM tracker.deliveries USING over WHERE deliveries.delivery_id = over.delivery_id
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: expire_rollups(before, how_many)$
-- How many counts of single minutes were let go.
WITH gone AS (
    DELETE FROM tracker.rollups
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM tracker.rollups
        WHERE minute < :before AND minute > '-infinity'
        LIMIT :how_many::bigint
    ))
    RETURNING 1
)
SELECT count(*) FROM gone;
