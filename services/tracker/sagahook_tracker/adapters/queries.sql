-- Everything that the tracker asks of PostgreSQL. Lists travel as arrays, so that a batch of any size is one
-- statement.

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

-- name: advance_offsets(topics, partitions, expected, next)^
-- How many of the given partitions stood at the expected offset and stand at the next one now (`moved`), and what
-- was let go for its age and is not to be written again: whoever raises a cut-off holds all offsets, so that this
-- statement, which waits for them before it takes its snapshot, sees it. A partition without a row was never read. The rest of the transaction belongs to these offsets: what a crash of
-- PostgreSQL takes back it takes back together, and the log still has it, so that no batch waits for the disk.
-- And every further statement finds rows by their keys: a plan for a table as small, or as unknown, as it was when the
-- plan was made must not be one that reads all of it. So there is one plan, which is not made again for each batch.
WITH given AS (
    SELECT * FROM unnest(:topics::text[], :partitions::int[], :expected::bigint[], :next::bigint[])
        AS given (topic, partition, expected_offset, next_offset)
), held AS MATERIALIZED (
    -- in one order, so that no two projectors wait for each other
    SELECT stored.topic, stored.partition
    FROM tracker.offsets AS stored
    JOIN given USING (topic, partition)
    ORDER BY stored.topic, stored.partition
    FOR NO KEY UPDATE OF stored
), moved AS (
    UPDATE tracker.offsets AS stored
    SET next_offset = given.next_offset
    FROM given
    JOIN held USING (topic, partition)
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
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM begun) AS moved,
       (SELECT before FROM tracker.cutoffs WHERE kind = 'history') AS history,
       (SELECT rows FROM tracker.cutoffs WHERE kind = 'history') AS history_rows,
       (SELECT before FROM tracker.cutoffs WHERE kind = 'audit') AS audit,
       (SELECT before FROM tracker.cutoffs WHERE kind = 'rollups') AS rollups
FROM set_config('synchronous_commit', 'off', TRUE) AS commits, set_config('enable_seqscan', 'off', TRUE) AS scans,
     set_config('enable_hashjoin', 'off', TRUE) AS hashes, set_config('enable_mergejoin', 'off', TRUE) AS merges,
     set_config('plan_cache_mode', 'force_generic_plan', TRUE) AS plans;

-- name: load_runs(saga_ids, runs)
-- The runs that a batch goes on with; without their contexts and results, which do not change.
SELECT saga_id, run, number, sequence, name, version, state, user_id, total_steps, steps, completed_steps,
       failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes, parent, limit_key, deadline_at,
       progress, message, unresolved, cause, acts, event_id, held,
       started_at, updated_at, finished_at
FROM tracker.runs
JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS wanted (saga_id, run) USING (saga_id, run);

-- name: add_webhooks(event_ids, numbers, sources, correlation_ids, event_types, received_at, delivery_ids, task_ids, content_types, sizes, headers)!
INSERT INTO tracker.webhooks (
    event_id, number, source, correlation_id, event_type, received_at, delivery_id, task_id, content_type, size, headers
)
SELECT *
FROM unnest(
    :event_ids::text[], :numbers::bigint[], :sources::text[], :correlation_ids::text[], :event_types::text[],
    :received_at::timestamptz[], :delivery_ids::text[], :task_ids::text[], :content_types::text[], :sizes::bigint[],
    :headers::json[]
)
ON CONFLICT (event_id) DO NOTHING;

-- name: add_routes(event_ids, numbers, outcomes, reasons, sagas, errors, routed_at, reprocesses)!
INSERT INTO tracker.routes (event_id, number, outcome, reason, sagas, errors, routed_at, reprocess)
SELECT *
FROM unnest(
    :event_ids::text[], :numbers::bigint[], :outcomes::text[], :reasons::text[], :sagas::json[], :errors::json[],
    :routed_at::timestamptz[], :reprocesses::text[]
)
ON CONFLICT (event_id, number) DO NOTHING;

-- name: add_asked(saga_ids, event_ids, names, correlation_ids, asked_at)!
INSERT INTO tracker.asked (saga_id, event_id, name, correlation_id, asked_at)
SELECT *
FROM unnest(
    :saga_ids::text[], :event_ids::text[], :names::text[], :correlation_ids::text[], :asked_at::timestamptz[]
)
ON CONFLICT (saga_id, event_id) DO NOTHING;

-- name: store_runs(saga_ids, runs, numbers, sequences, names, versions, states, user_ids, contexts, total_steps, steps, completed_steps, failed_steps, errors, reasons, definition_hashes, sources, correlation_ids, suspended_in, attributes, parents, limit_keys, deadlines, progress, messages, unresolved, causes, acts, started_at, updated_at, finished_at, event_ids, held, results)!
-- A run that is there keeps what only its first event carries, and the result of an end that came earlier.
INSERT INTO tracker.runs (
    saga_id, run, number, sequence, name, version, state, user_id, context, total_steps, steps,
    completed_steps, failed_step, error, reason, definition_hash, source, correlation_id, suspended_in, attributes,
    parent, limit_key, deadline_at, progress, message, unresolved, cause, acts, started_at, updated_at, finished_at,
    event_id, held, result
)
SELECT *
FROM unnest(
    :saga_ids::text[], :runs::bigint[], :numbers::bigint[], :sequences::bigint[], :names::text[],
    :versions::bigint[], :states::text[], :user_ids::text[], :contexts::json[], :total_steps::bigint[],
    :steps::json[], :completed_steps::json[], :failed_steps::text[], :errors::text[], :reasons::text[],
    :definition_hashes::text[], :sources::text[], :correlation_ids::text[], :suspended_in::text[],
    :attributes::jsonb[], :parents::json[], :limit_keys::text[], :deadlines::timestamptz[],
    :progress::float8[], :messages::text[], :unresolved::json[], :causes::text[], :acts::json[],
    :started_at::timestamptz[], :updated_at::timestamptz[], :finished_at::timestamptz[], :event_ids::text[],
    :held::boolean[], :results::json[]
)
ON CONFLICT (saga_id, run) DO UPDATE
SET sequence = excluded.sequence, name = excluded.name, version = excluded.version, state = excluded.state,
    user_id = excluded.user_id, total_steps = excluded.total_steps, steps = excluded.steps,
    completed_steps = excluded.completed_steps, failed_step = excluded.failed_step, error = excluded.error,
    reason = excluded.reason, definition_hash = excluded.definition_hash, suspended_in = excluded.suspended_in,
    progress = excluded.progress, message = excluded.message, unresolved = excluded.unresolved,
    cause = excluded.cause, acts = excluded.acts, updated_at = excluded.updated_at,
    finished_at = excluded.finished_at, held = excluded.held, result = coalesce(excluded.result, runs.result);

-- name: store_attempts(saga_ids, runs, steps, phases, attempts, numbers, started_at, completed_at, statuses, errors, durations, participants)!
-- An attempt that is there keeps what its scheduling said.
INSERT INTO tracker.attempts (
    saga_id, run, step, phase, attempt, number, started_at, completed_at, status, error, duration_ms, participant
)
SELECT *
FROM unnest(
    :saga_ids::text[], :runs::bigint[], :steps::text[], :phases::text[], :attempts::bigint[], :numbers::bigint[],
    :started_at::timestamptz[], :completed_at::timestamptz[], :statuses::text[], :errors::text[],
    :durations::bigint[], :participants::text[]
)
ON CONFLICT (saga_id, run, step, phase, attempt) DO UPDATE
SET started_at = coalesce(attempts.started_at, excluded.started_at), completed_at = excluded.completed_at,
    status = excluded.status, error = excluded.error, duration_ms = excluded.duration_ms,
    participant = coalesce(attempts.participant, excluded.participant);

-- name: add_history(numbers, saga_ids, runs, sequences, at, types, statuses, states, steps, progress, messages, metadata, correlation_ids, traceparents)!
INSERT INTO tracker.history (
    number, saga_id, run, sequence, at, type, status, state, step, progress, message, metadata, correlation_id,
    traceparent
)
SELECT *
FROM unnest(
    :numbers::bigint[], :saga_ids::text[], :runs::bigint[], :sequences::bigint[], :at::timestamptz[], :types::text[],
    :statuses::text[], :states::text[], :steps::text[], :progress::float8[], :messages::text[], :metadata::json[],
    :correlation_ids::text[], :traceparents::text[]
);

-- name: trim_history(saga_ids, runs, sequences)!
-- Of each of the runs, what is as old as its sequence.
DELETE FROM tracker.history
USING unnest(:saga_ids::text[], :runs::bigint[], :sequences::bigint[]) AS long (saga_id, run, sequence)
WHERE (history.saga_id, history.run) = (long.saga_id, long.run) AND history.sequence <= long.sequence;

-- name: hold_standings(event_ids, saga_ids, runs)
-- The events that stand otherwise now: the given ones, and those that have started or joined one of the given runs. Their
-- rows are there from now on and locked, in the order of their ids, so that no two projectors wait for each other.
-- What others changed is visible to the statements after this one.
WITH affected AS MATERIALIZED (
    SELECT unnest(:event_ids::text[]) AS event_id
    UNION
    SELECT links.event_id
    FROM tracker.links
    JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS moved (saga_id, run) USING (saga_id, run)
), held AS (
    INSERT INTO tracker.standings (event_id)
    SELECT event_id
    FROM affected
    ORDER BY event_id
    -- locks the row that is there, and leaves it
    ON CONFLICT (event_id) DO UPDATE SET event_id = excluded.event_id WHERE FALSE
)
SELECT event_id
FROM affected;

-- name: settle(event_ids, minutes, kinds, sources, types, outcomes, counts, milliseconds, since, correlation_ids, saga_ids, runs, offsets, channel, limit)!
-- Computes anew how the given events stand, all of which are held, and moves them from one count of the rollups to
-- another; adds the given counts too. What began before `since` counts only in the sums since ever, the minute
-- -infinity. Rollups are shared by all projectors: they come last, in one order.
-- Once the transaction is committed, it wakes whoever waits on the channel: those of the given correlation ids, those of
-- every webhook that is processed now, and those of every one that started or joined one of the given runs. Beyond
-- `limit` bytes, everybody (ids: null).
WITH now AS (
    SELECT held.event_id, webhooks.number, webhooks.received_at, webhooks.source, webhooks.event_type,
           webhooks.correlation_id, routed.routed_at, routed.reprocessed, coalesce(routed.lost, 0) AS lost,
           ended.open, ended.completed, ended.failed, ended.settled_at
    FROM unnest(:event_ids::text[]) AS held (event_id)
    LEFT JOIN tracker.webhooks ON webhooks.event_id = held.event_id
    CROSS JOIN LATERAL (
        SELECT min(routes.routed_at) AS routed_at, count(routes.reprocess) AS reprocessed,
               (array_agg(
                   greatest(json_array_length(routes.errors), (routes.outcome = 'failed')::int)
                   ORDER BY routes.number DESC
               ))[1] AS lost
        FROM tracker.routes
        WHERE routes.event_id = held.event_id
    ) AS routed
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE runs.status IS NULL OR runs.status NOT IN ('completed', 'failed')) AS open,
               count(*) FILTER (WHERE runs.status = 'completed') AS completed,
               count(*) FILTER (WHERE runs.status = 'failed') AS failed,
               max(runs.finished_at) AS settled_at
        FROM (
            SELECT saga_id, max(run) AS run
            FROM (
                SELECT links.saga_id, links.run
                FROM tracker.links
                WHERE links.event_id = held.event_id
                UNION ALL
                SELECT asked ->> 'saga_id', 0
                FROM tracker.routes, json_array_elements(routes.sagas) AS asked
                WHERE routes.event_id = held.event_id
            ) AS any_run
            GROUP BY saga_id
        ) AS newest
        LEFT JOIN tracker.runs USING (saga_id, run)
    ) AS ended
), moved AS (
    UPDATE tracker.standings
    SET number = now.number, received_at = now.received_at, routed_at = now.routed_at,
        reprocessed = now.reprocessed, open = now.open, completed = now.completed, failed = now.failed,
        lost = now.lost, settled_at = now.settled_at
    FROM now
    JOIN tracker.standings AS before USING (event_id)
    WHERE standings.event_id = now.event_id
      AND (before.number, before.routed_at, before.reprocessed, before.open, before.completed, before.failed,
           before.lost, before.settled_at)
          IS DISTINCT FROM (now.number, now.routed_at, now.reprocessed, now.open, now.completed, now.failed,
                            now.lost, now.settled_at)
    RETURNING now.received_at, now.source, now.event_type, now.correlation_id, standings.processed,
              before.outcome AS outcome_before, standings.outcome,
              CASE WHEN before.processed THEN greatest(before.routed_at, before.settled_at) END AS processed_before,
              CASE WHEN standings.processed THEN greatest(now.routed_at, now.settled_at) END AS processed_at
), counted AS (
    SELECT date_trunc('minute', received_at, 'UTC') AS minute, 'webhook' AS kind, source, event_type AS type,
           places.outcome, places.sign AS count,
           places.sign * coalesce(
               greatest(0, floor(extract(EPOCH FROM places.processed_at - received_at) * 1000)), 0
           )::bigint AS milliseconds
    FROM moved
    CROSS JOIN LATERAL (
        VALUES (-1, outcome_before, processed_before), (1, moved.outcome, moved.processed_at)
    ) AS places (sign, outcome, processed_at)
    WHERE places.outcome IS NOT NULL
    UNION ALL
    SELECT *
    FROM unnest(
        :minutes::timestamptz[], :kinds::text[], :sources::text[], :types::text[], :outcomes::text[],
        :counts::bigint[], :milliseconds::bigint[]
    )
), summed AS (
    INSERT INTO tracker.rollups AS known (minute, kind, source, type, outcome, count, total_ms)
    SELECT minutes.minute, kind, source, type, outcome, sum(count), sum(milliseconds)
    FROM counted
    CROSS JOIN LATERAL (VALUES (counted.minute), ('-infinity')) AS minutes (minute)
    WHERE minutes.minute = '-infinity' OR minutes.minute >= coalesce(:since::timestamptz, '-infinity')
    GROUP BY minutes.minute, kind, source, type, outcome
    HAVING sum(count) <> 0 OR sum(milliseconds) <> 0
    ORDER BY minutes.minute, kind, source, type, outcome
    ON CONFLICT (minute, kind, source, type, outcome) DO UPDATE
    SET count = known.count + excluded.count, total_ms = known.total_ms + excluded.total_ms
), ids AS (
    SELECT unnest(:correlation_ids::text[]) AS id
    UNION
    SELECT correlation_id FROM moved WHERE processed
    UNION
    SELECT links.correlation_id
    FROM tracker.links
    JOIN unnest(:saga_ids::text[], :runs::bigint[]) AS ended (saga_id, run) USING (saga_id, run)
), news AS (
    SELECT json_build_object('ids', coalesce(json_agg(id), '[]'), 'offsets', :offsets::json)::text AS all_named,
           json_build_object('ids', null, 'offsets', :offsets::json)::text AS none_named
    FROM ids
)
SELECT pg_notify(:channel::text, CASE WHEN octet_length(all_named) <= :limit::int THEN all_named ELSE none_named END)
FROM news
WHERE :channel::text IS NOT NULL;

-- name: store_deliveries(delivery_ids, numbers, endpoint_ids, event_ids, event_types, saga_ids, runs, correlation_ids, statuses, attempts, errors, status_codes, next_attempts, first_at, updated_at)!
-- The notifier may tell of an attempt twice: what is said of the newest attempt holds, and that it was the last one.
INSERT INTO tracker.deliveries AS known (
    delivery_id, number, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts, error,
    status_code, next_attempt_at, first_at, updated_at
)
SELECT *
FROM unnest(
    :delivery_ids::text[], :numbers::bigint[], :endpoint_ids::text[], :event_ids::text[], :event_types::text[],
    :saga_ids::text[], :runs::bigint[], :correlation_ids::text[], :statuses::text[], :attempts::bigint[],
    :errors::text[], :status_codes::bigint[], :next_attempts::timestamptz[], :first_at::timestamptz[],
    :updated_at::timestamptz[]
)
ON CONFLICT (delivery_id) DO UPDATE
SET status = excluded.status, attempts = excluded.attempts, error = excluded.error,
    status_code = excluded.status_code, next_attempt_at = excluded.next_attempt_at, updated_at = excluded.updated_at
WHERE (excluded.attempts, excluded.status = 'exhausted') > (known.attempts, known.status = 'exhausted');

-- name: add_delivery_attempts(delivery_ids, attempts, whats, numbers, at, status_codes, errors, next_attempts)!
INSERT INTO tracker.delivery_attempts (
    delivery_id, attempt, what, number, at, status_code, error, next_attempt_at
)
SELECT *
FROM unnest(
    :delivery_ids::text[], :attempts::bigint[], :whats::text[], :numbers::bigint[], :at::timestamptz[],
    :status_codes::bigint[], :errors::text[], :next_attempts::timestamptz[]
)
ON CONFLICT (delivery_id, attempt, what) DO NOTHING;

-- name: add_audit(audit_ids, numbers, at, until, service, action, target, outcome, actor, role, reason, client, correlation_id, counts)!
INSERT INTO tracker.audit (
    audit_id, number, at, until, service, action, target, outcome, actor, role, reason, client, correlation_id, count
)
SELECT *
FROM unnest(
    :audit_ids::text[], :numbers::bigint[], :at::timestamptz[], :until::timestamptz[], :service::text[],
    :action::text[], :target::text[], :outcome::text[], :actor::text[], :role::text[], :reason::text[],
    :client::text[], :correlation_id::text[], :counts::bigint[]
)
ON CONFLICT (audit_id, at) DO NOTHING;

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
