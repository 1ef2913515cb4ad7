-- Everything that the tracker asks of PostgreSQL. Lists travel as arrays, so that a batch of any size is one
-- statement.

-- name: load_offsets(topics)
SELECT topic, partition, next_offset
FROM tracker.offsets
WHERE topic = ANY (:topics);

-- name: advance_offsets(topics, partitions, expected, next)$
-- How many of the given partitions stood at the expected offset and stand at the next one now. A partition
-- without a row was never read. The rest of the transaction belongs to these offsets: what a crash of
-- PostgreSQL takes back it takes back together, and the log still has it, so that no batch waits for the disk.
WITH given AS (
    SELECT * FROM unnest(:topics::text[], :partitions::int[], :expected::bigint[], :next::bigint[])
        AS given (topic, partition, expected_offset, next_offset)
), moved AS (
    UPDATE tracker.offsets AS stored
    SET next_offset = given.next_offset
    FROM given
    WHERE (stored.topic, stored.partition) = (given.topic, given.partition)
      AND stored.next_offset = given.expected_offset
    RETURNING 1
), begun AS (
    INSERT INTO tracker.offsets (topic, partition, next_offset)
    SELECT topic, partition, next_offset
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM begun)
FROM set_config('synchronous_commit', 'off', TRUE);

-- name: load_runs(saga_ids, runs)
-- The runs that a batch goes on with; without their contexts, which never change.
SELECT saga_id, run, number, sequence, name, version, state, user_id, total_steps, steps, completed_steps,
       failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent, limit_key, deadline_at,
       progress, message, unresolved, cause, acts,
       started_at, updated_at, finished_at
FROM tracker.runs
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run);

-- name: add_webhooks(event_ids, numbers, sources, correlation_ids, event_types, received_at)!
INSERT INTO tracker.webhooks (event_id, number, source, correlation_id, event_type, received_at)
SELECT *
FROM unnest(
    :event_ids::text[], :numbers::bigint[], :sources::text[], :correlation_ids::text[], :event_types::text[],
    :received_at::timestamptz[]
)
ON CONFLICT (event_id) DO NOTHING;

-- name: store_routes(event_ids, outcomes, reasons, sagas, errors, routed_at)!
INSERT INTO tracker.routes (event_id, outcome, reason, sagas, errors, routed_at)
SELECT *
FROM unnest(
    :event_ids::text[], :outcomes::text[], :reasons::text[], :sagas::json[], :errors::json[],
    :routed_at::timestamptz[]
)
ON CONFLICT (event_id) DO UPDATE
SET outcome = excluded.outcome, reason = excluded.reason, sagas = excluded.sagas, errors = excluded.errors,
    routed_at = excluded.routed_at;

-- name: store_runs(saga_ids, runs, numbers, sequences, names, versions, states, user_ids, contexts, total_steps, steps, completed_steps, failed_steps, errors, reasons, definition_hashes, sources, correlation_ids, suspended_in, attributes, parents, limit_keys, deadlines, progress, messages, unresolved, causes, acts, started_at, updated_at, finished_at)!
-- A run that is there keeps what only its first event carries.
INSERT INTO tracker.runs (
    saga_id, run, number, sequence, name, version, state, user_id, context, total_steps, steps,
    completed_steps, failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes,
    parent, limit_key, deadline_at, progress, message, unresolved, cause, acts, started_at, updated_at, finished_at
)
SELECT *
FROM unnest(
    :saga_ids::text[], :runs::bigint[], :numbers::bigint[], :sequences::bigint[], :names::text[],
    :versions::bigint[], :states::text[], :user_ids::text[], :contexts::json[], :total_steps::bigint[],
    :steps::json[], :completed_steps::json[], :failed_steps::text[], :errors::text[], :reasons::text[],
    :definition_hashes::text[], :sources::text[], :correlation_ids::text[], :suspended_in::text[],
    :attributes::jsonb[], :parents::json[], :limit_keys::text[], :deadlines::timestamptz[],
    :progress::float8[], :messages::text[], :unresolved::json[], :causes::text[], :acts::json[],
    :started_at::timestamptz[], :updated_at::timestamptz[], :finished_at::timestamptz[]
)
ON CONFLICT (saga_id, run) DO UPDATE
SET sequence = excluded.sequence, name = excluded.name, version = excluded.version, state = excluded.state,
    user_id = excluded.user_id, total_steps = excluded.total_steps, steps = excluded.steps,
    completed_steps = excluded.completed_steps, failed_step = excluded.failed_step, error = excluded.error,
    reason = excluded.reason, definition_hash = excluded.definition_hash, suspended_in = excluded.suspended_in,
    progress = excluded.progress, message = excluded.message, unresolved = excluded.unresolved,
    cause = excluded.cause, acts = excluded.acts, updated_at = excluded.updated_at,
    finished_at = excluded.finished_at;

-- name: store_definitions(names, versions, numbers, hashes, definitions, deployed_at)!
INSERT INTO tracker.definitions (name, version, number, hash, definition, deployed_at)
SELECT *
FROM unnest(
    :names::text[], :versions::bigint[], :numbers::bigint[], :hashes::text[], :definitions::json[],
    :deployed_at::timestamptz[]
)
ON CONFLICT (name, version) DO UPDATE
SET number = excluded.number, hash = excluded.hash, definition = excluded.definition,
    deployed_at = excluded.deployed_at;

-- name: store_controls(kinds, names, numbers, paused, actors, reasons, set_at)!
INSERT INTO tracker.controls (kind, name, number, paused, actor, reason, set_at)
SELECT *
FROM unnest(
    :kinds::text[], :names::text[], :numbers::bigint[], :paused::boolean[], :actors::text[], :reasons::text[],
    :set_at::timestamptz[]
)
ON CONFLICT (kind, name) DO UPDATE
SET number = excluded.number, paused = excluded.paused, actor = excluded.actor, reason = excluded.reason,
    set_at = excluded.set_at;

-- name: add_links(event_ids, saga_ids, runs, correlation_ids, linked_at)!
INSERT INTO tracker.links (event_id, saga_id, run, correlation_id, linked_at)
SELECT *
FROM unnest(
    :event_ids::text[], :saga_ids::text[], :runs::bigint[], :correlation_ids::text[], :linked_at::timestamptz[]
)
ON CONFLICT DO NOTHING;

-- name: announce(channel, limit, correlation_ids, saga_ids, runs, offsets)^
-- Wakes whoever waits, once this transaction is committed: those of the given correlation ids, and those of
-- every webhook that started or joined one of the given runs. Beyond `limit` bytes, everybody (ids: null).
WITH ids AS (
    SELECT unnest(:correlation_ids::text[]) AS id
    UNION
    SELECT links.correlation_id
    FROM tracker.links
    JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS ended (saga_id, run) USING (saga_id, run)
), news AS (
    SELECT json_build_object('ids', coalesce(json_agg(id), '[]'), 'offsets', :offsets::json)::text AS all_named,
           json_build_object('ids', null, 'offsets', :offsets::json)::text AS none_named
    FROM ids
)
SELECT pg_notify(:channel, CASE WHEN octet_length(all_named) <= :limit THEN all_named ELSE none_named END)
FROM news;

-- name: webhook_status(source, correlation_id)
-- Every webhook of the correlation id, with each run that it started or joined: one row for each such run,
-- or one alone.
SELECT webhooks.event_id, routes.outcome, routes.reason, routes.sagas, routes.errors,
       runs.saga_id, runs.run, runs.name, runs.state, runs.error, runs.reason AS suspended_because, runs.steps
FROM tracker.webhooks
LEFT JOIN tracker.routes USING (event_id)
LEFT JOIN tracker.links USING (event_id)
LEFT JOIN tracker.runs ON (runs.saga_id, runs.run) = (links.saga_id, links.run)
WHERE webhooks.correlation_id = :correlation_id AND webhooks.source = :source
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
      SELECT FROM tracker.runs AS newer WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run
  )
ORDER BY coalesce(started_at, '-infinity'::timestamptz) DESC, number DESC
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
