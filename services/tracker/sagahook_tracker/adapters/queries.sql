-- What the tracker asks of PostgreSQL; store.sql has what it writes there.

-- name: load_offsets(topics)
SELECT topic, partition, next_offset
FROM tracker.offsets
WHERE topic = ANY (:topics);

-- name: take_offsets(topics, partitions)
-- Those of partitions that may have been another projector's until now, once the transaction is over that it may have
-- under way: a batch that is read from an earlier offset would be refused.
SELECT stored.topic, stored.partition, stored.next_offset
FROM tracker.offsets AS stored
JOIN unnest(:topics::text[], :partitions::int[]) AS taken (topic, partition) USING (topic, partition)
ORDER BY stored.topic, stored.partition
FOR SHARE OF stored;

-- name: which_views()$
-- These, by a number: a rebuild puts others in their place.
SELECT to_regclass('tracker.offsets')::oid::bigint;

-- name: load_runs(saga_ids, runs)
-- The runs that a batch goes on with; without their contexts and results, which do not change.
SELECT saga_id, run, number, sequence, name, version, state, user_id, total_steps, steps, completed_steps,
       failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent, limit_key, deadline_at,
       progress, message, unresolved, cause, acts, event_id, held,
       started_at, updated_at, finished_at
FROM tracker.runs
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run);

-- name: webhook_status(source, correlation_id)
-- Every webhook of the correlation id, with each run that it started or joined: one row for each such run,
-- or one alone. The source is compared so that no index serves it: a plan that is made while the tables are small, or
-- unknown, would else read every webhook of the source, in the order that is asked for, until they are analyzed.
SELECT webhooks.event_id, routed.outcome, routed.reason, routed.sagas, routed.errors,
       runs.saga_id, runs.run, runs.name, runs.state, runs.error, runs.reason AS suspended_because, runs.steps
FROM tracker.webhooks
LEFT JOIN LATERAL (
    SELECT outcome, reason, sagas, errors
    FROM tracker.routes
    WHERE routes.event_id = webhooks.event_id
    ORDER BY number DESC
    LIMIT 1
) AS routed ON TRUE
LEFT JOIN tracker.links USING (event_id)
LEFT JOIN tracker.runs ON (runs.saga_id, runs.run) = (links.saga_id, links.run)
WHERE webhooks.correlation_id = :correlation_id AND webhooks.source IS NOT DISTINCT FROM :source
ORDER BY webhooks.received_at, webhooks.number, runs.run;

-- name: saga_status(saga_id)
-- The saga's newest run, and the correlation ids under which it was asked for, the first ones first; none where
-- another saga asked for it.
SELECT runs.*,
       ARRAY(
           SELECT correlation_id
           FROM tracker.links
           WHERE (links.saga_id, links.run) = (runs.saga_id, runs.run)
           GROUP BY correlation_id
           ORDER BY min(linked_at), correlation_id
           LIMIT 100
       ) AS asked_under
FROM tracker.runs
WHERE saga_id = :saga_id
ORDER BY run DESC
LIMIT 1;

-- name: plan_for_these_values#
-- So that a filter that is not given costs nothing, and one that is finds its index.
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: find_runs(states, name, version, cause, source, attributes, started_before, started_after, after_start, after_number, how_many)
-- The newest runs of sagas, without their contexts, those that started last first. A parameter that is null asks
-- for nothing. position: what after_start takes.
SELECT saga_id, run, number, sequence, name, version, state, user_id, total_steps, steps, completed_steps,
       failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent,
       limit_key, deadline_at, progress, message, unresolved, cause, acts, started_at, updated_at, finished_at,
       coalesce(started_at, '-infinity'::timestamptz)::text AS position
FROM tracker.runs
WHERE (:states::text[] IS NULL OR state = ANY (:states::text[]))
  AND (:name::text IS NULL OR name = :name::text)
  AND (:version::bigint IS NULL OR version = :version::bigint)
  AND (:cause::text IS NULL OR cause = :cause::text)
  AND (:source::text IS NULL OR source = :source::text)
  AND (:attributes::jsonb[] IS NULL
       OR (attributes IS NOT NULL AND attributes @> ANY (:attributes::jsonb[])))
  AND (:started_before::timestamptz IS NULL OR started_at < :started_before::timestamptz)
  AND (:started_after::timestamptz IS NULL OR started_at > :started_after::timestamptz)
  AND (:after_start::text IS NULL
       OR (coalesce(started_at, '-infinity'::timestamptz), number)
          < (:after_start::text::timestamptz, :after_number::bigint))
  AND NOT EXISTS (
      SELECT
      FROM tracker.runs AS newer
      WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run AND newer.run > 1  -- few, by runs_again
      OFFSET 0  -- for each row by itself
  )
ORDER BY coalesce(started_at, '-infinity'::timestamptz) DESC, number DESC
LIMIT :how_many::bigint;

-- name: find_runs_by_word(attribute, word, states, name, version, cause, source, attributes, started_before, started_after, after_start, after_number, how_many)
-- The same of those that have an attribute of that word, from the rows that are kept for it.
SELECT saga_id, run, runs.number, sequence, name, version, state, user_id, total_steps, steps, completed_steps,
       failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent,
       limit_key, deadline_at, progress, message, unresolved, cause, acts, runs.started_at, updated_at, finished_at,
       listed.started_at::text AS position
FROM tracker.attributes AS listed
JOIN tracker.runs ON (coalesce(runs.started_at, '-infinity'::timestamptz), runs.number) = (listed.started_at, listed.number)
WHERE listed.attribute = :attribute AND listed.word = :word
  AND (:states::text[] IS NULL OR state = ANY (:states::text[]))
  AND (:name::text IS NULL OR name = :name::text)
  AND (:version::bigint IS NULL OR version = :version::bigint)
  AND (:cause::text IS NULL OR cause = :cause::text)
  AND (:source::text IS NULL OR source = :source::text)
  AND coalesce(attributes @> ANY (:attributes::jsonb[]), FALSE)  -- nearly all; PostgreSQL would guess hardly any
  AND (:started_before::timestamptz IS NULL OR listed.started_at < :started_before::timestamptz)
  AND (:started_after::timestamptz IS NULL OR listed.started_at > :started_after::timestamptz)
  AND (:after_start::text IS NULL
       OR (listed.started_at, listed.number) < (:after_start::text::timestamptz, :after_number::bigint))
  AND NOT EXISTS (
      SELECT
      FROM tracker.runs AS newer
      WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run AND newer.run > 1  -- few, by runs_again
      OFFSET 0  -- for each row by itself
  )
ORDER BY listed.started_at DESC, listed.number DESC
LIMIT :how_many::bigint;

-- name: load_definition(name, version)
-- The version, or where none is given the newest.
SELECT definition
FROM tracker.definitions
WHERE name = :name AND (:version::bigint IS NULL OR version = :version::bigint)
ORDER BY version DESC
LIMIT 1;

-- name: load_definitions()
-- Every version of each.
SELECT definition, deployed_at
FROM tracker.definitions
ORDER BY name, version;

-- name: load_controls()
SELECT kind, name, paused, actor, reason, set_at
FROM tracker.controls
ORDER BY kind, name;
