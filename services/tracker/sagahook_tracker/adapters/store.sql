-- A batch: the rows that it adds or replaces and the offsets that they stand for, in one transaction and one trip to
-- the database, for which somebody waits. A function of the session, made on each new connection: so it is always that
-- of the code which calls it.
--
-- Rows are lists of objects by the names of the columns, null where there are none.
-- expected, next of offset_rows: where each partition of the batch stood, and stands.
-- begun_keys: the runs whose first event is in the batch. longest: how many events the longest of its runs has.
-- touched: the events that stand otherwise now. moved_keys: the runs by which others do. ended_keys: those that ended.
-- waited_for, news_of_offsets, channel, most_bytes: who is told of what, see the end.
-- known_views: those that the caller knows runs of, as they were returned; null: of none.
-- Returned is from when on history and audit are kept, and which views these are: a rebuild puts others in their place.
-- Raises SH001 where a partition does not stand where the batch began, or the views are others than the known ones;
-- SH002 where a run of begun_keys is there already.
CREATE OR REPLACE FUNCTION pg_temp.store(
    offset_rows json, begun_keys json, webhook_rows json, route_rows json, asked_rows json, link_rows json,
    definition_rows json, control_rows json, run_rows json, attempt_rows json, history_rows json, longest bigint,
    delivery_rows json, delivery_attempt_rows json, audit_rows json, rollup_rows json,
    touched text[], moved_keys json, ended_keys json,
    waited_for text[], news_of_offsets json, channel text, most_bytes int, known_views bigint,
    OUT history_since timestamptz, OUT audit_since timestamptz, OUT views bigint
) LANGUAGE plpgsql AS $store$
#variable_conflict use_column
DECLARE
    place record;
    history_length bigint;
    counted_since timestamptz;
    standing text[];
    told text;
BEGIN
    -- What a crash of PostgreSQL takes back it takes back together with the offsets, and the log still has it: no batch
    -- waits for the disk. And rows are found by their keys: a plan for a table as small, or as unknown, as it was when
    -- the plan was made must not be one that reads all of it. So there is one plan, which is not made again.
    PERFORM set_config('synchronous_commit', 'off', TRUE), set_config('enable_seqscan', 'off', TRUE),
            set_config('enable_hashjoin', 'off', TRUE), set_config('enable_mergejoin', 'off', TRUE),
            set_config('plan_cache_mode', 'force_generic_plan', TRUE);

    -- In one order, so that no two projectors wait for each other. A partition without a row was never read.
    FOR place IN SELECT * FROM json_to_recordset(offset_rows) AS given (
        topic text, partition int, expected bigint, next bigint
    ) ORDER BY topic, partition LOOP
        UPDATE tracker.offsets
        SET next_offset = place.next
        WHERE (topic, partition) = (place.topic, place.partition) AND next_offset = place.expected;
        IF NOT FOUND THEN
            INSERT INTO tracker.offsets (topic, partition, next_offset)
            VALUES (place.topic, place.partition, place.next)
            ON CONFLICT DO NOTHING;
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION '%-% is not where it began, at %', place.topic, place.partition, place.expected
            USING ERRCODE = 'SH001';
        END IF;
    END LOOP;

    -- Behind those locks nobody puts other views in the place of these.
    views := to_regclass('tracker.offsets')::oid::bigint;
    IF known_views <> views THEN
        RAISE EXCEPTION 'a rebuild has put other views in the place of these' USING ERRCODE = 'SH001';
    END IF;

    -- What was let go for its age is not written again. Whoever raises a cut-off holds all offsets, so that this
    -- statement, which comes after them, sees it.
    SELECT max(before) FILTER (WHERE kind = 'history'), max(rows) FILTER (WHERE kind = 'history'),
           max(before) FILTER (WHERE kind = 'audit'), max(before) FILTER (WHERE kind = 'rollups')
    INTO history_since, history_length, audit_since, counted_since
    FROM tracker.cutoffs;

    IF begun_keys IS NOT NULL AND EXISTS (
        SELECT
        FROM tracker.runs
        JOIN json_to_recordset(begun_keys) AS begun (saga_id text, run bigint) USING (saga_id, run)
    ) THEN
        RAISE EXCEPTION 'a run that begins in this batch is there already' USING ERRCODE = 'SH002';
    END IF;

    IF webhook_rows IS NOT NULL THEN
        INSERT INTO tracker.webhooks (
            event_id, number, source, correlation_id, event_type, received_at, delivery_id, task_id, content_type,
            size, headers
        )
        SELECT event_id, number, source, correlation_id, event_type, received_at, delivery_id, task_id, content_type,
               size, headers::json
        FROM json_to_recordset(webhook_rows) AS given (
            event_id text, number bigint, source text, correlation_id text, event_type text, received_at timestamptz,
            delivery_id text, task_id text, content_type text, size bigint, headers text
        )
        ON CONFLICT (event_id) DO NOTHING;
    END IF;

    IF route_rows IS NOT NULL THEN
        INSERT INTO tracker.routes (event_id, number, outcome, reason, sagas, errors, routed_at, reprocess)
        SELECT event_id, number, outcome, reason, sagas::json, errors::json, routed_at, reprocess
        FROM json_to_recordset(route_rows) AS given (
            event_id text, number bigint, outcome text, reason text, sagas text, errors text, routed_at timestamptz,
            reprocess text
        )
        ON CONFLICT (event_id, number) DO NOTHING;
    END IF;

    IF asked_rows IS NOT NULL THEN
        INSERT INTO tracker.asked (saga_id, event_id, name, correlation_id, asked_at)
        SELECT saga_id, event_id, name, correlation_id, asked_at
        FROM json_to_recordset(asked_rows) AS given (
            saga_id text, event_id text, name text, correlation_id text, asked_at timestamptz
        )
        ON CONFLICT (saga_id, event_id) DO NOTHING;
    END IF;

    IF link_rows IS NOT NULL THEN
        INSERT INTO tracker.links (event_id, saga_id, run, correlation_id, linked_at)
        SELECT event_id, saga_id, run, correlation_id, linked_at
        FROM json_to_recordset(link_rows) AS given (
            event_id text, saga_id text, run bigint, correlation_id text, linked_at timestamptz
        )
        ON CONFLICT DO NOTHING;
    END IF;

    IF definition_rows IS NOT NULL THEN
        INSERT INTO tracker.definitions (name, version, number, hash, definition, deployed_at)
        SELECT name, version, number, hash, definition::json, deployed_at
        FROM json_to_recordset(definition_rows) AS given (
            name text, version bigint, number bigint, hash text, definition text, deployed_at timestamptz
        )
        ON CONFLICT (name, version) DO UPDATE
        SET number = excluded.number, hash = excluded.hash, definition = excluded.definition,
            deployed_at = excluded.deployed_at;
    END IF;

    IF control_rows IS NOT NULL THEN
        INSERT INTO tracker.controls (kind, name, number, paused, actor, reason, set_at)
        SELECT kind, name, number, paused, actor, reason, set_at
        FROM json_to_recordset(control_rows) AS given (
            kind text, name text, number bigint, paused boolean, actor text, reason text, set_at timestamptz
        )
        ON CONFLICT (kind, name) DO UPDATE
        SET number = excluded.number, paused = excluded.paused, actor = excluded.actor, reason = excluded.reason,
            set_at = excluded.set_at;
    END IF;

    IF run_rows IS NOT NULL THEN
        -- A run that is there keeps what only its first event carries, and the result of an end that came earlier.
        INSERT INTO tracker.runs (
            saga_id, run, number, sequence, name, version, state, user_id, context, total_steps, steps,
            completed_steps, failed_step, error, reason, definition_hash, source, correlation_id, suspended_in,
            attributes, parent, limit_key, deadline_at, progress, message, unresolved, cause, acts, started_at,
            updated_at, finished_at, event_id, held, result
        )
        SELECT saga_id, run, number, sequence, name, version, state, user_id, context::json, total_steps, steps::json,
               completed_steps::json, failed_step, error, reason, definition_hash, source, correlation_id, suspended_in,
               attributes::jsonb, parent::json, limit_key, deadline_at, progress, message, unresolved::json, cause,
               acts::json, started_at, updated_at, finished_at, event_id, held, result::json
        FROM json_to_recordset(run_rows) AS given (
            saga_id text, run bigint, number bigint, sequence bigint, name text, version bigint, state text,
            user_id text, context text, total_steps bigint, steps text, completed_steps text, failed_step text,
            error text, reason text, definition_hash text, source text, correlation_id text, suspended_in text,
            attributes text, parent text, limit_key text, deadline_at timestamptz, progress float8, message text,
            unresolved text, cause text, acts text, started_at timestamptz, updated_at timestamptz,
            finished_at timestamptz, event_id text, held boolean, result text
        )
        ON CONFLICT (saga_id, run) DO UPDATE
        SET sequence = excluded.sequence, name = excluded.name, version = excluded.version, state = excluded.state,
            user_id = excluded.user_id, total_steps = excluded.total_steps, steps = excluded.steps,
            completed_steps = excluded.completed_steps, failed_step = excluded.failed_step, error = excluded.error,
            reason = excluded.reason, definition_hash = excluded.definition_hash,
            suspended_in = excluded.suspended_in, progress = excluded.progress, message = excluded.message,
            unresolved = excluded.unresolved, cause = excluded.cause, acts = excluded.acts,
            updated_at = excluded.updated_at, finished_at = excluded.finished_at, held = excluded.held,
            result = coalesce(excluded.result, runs.result);
    END IF;

    IF attempt_rows IS NOT NULL THEN
        -- An attempt that is there keeps what its scheduling said.
        INSERT INTO tracker.attempts (
            saga_id, run, step, phase, attempt, number, started_at, completed_at, status, error, duration_ms,
            participant
        )
        SELECT saga_id, run, step, phase, attempt, number, started_at, completed_at, status, error, duration_ms,
               participant
        FROM json_to_recordset(attempt_rows) AS given (
            saga_id text, run bigint, step text, phase text, attempt bigint, number bigint, started_at timestamptz,
            completed_at timestamptz, status text, error text, duration_ms bigint, participant text
        )
        ON CONFLICT (saga_id, run, step, phase, attempt) DO UPDATE
        SET started_at = coalesce(attempts.started_at, excluded.started_at), completed_at = excluded.completed_at,
            status = excluded.status, error = excluded.error, duration_ms = excluded.duration_ms,
            participant = coalesce(attempts.participant, excluded.participant);
    END IF;

    IF history_rows IS NOT NULL THEN
        INSERT INTO tracker.history (
            number, saga_id, run, sequence, at, type, status, state, step, progress, message, metadata,
            correlation_id, traceparent
        )
        SELECT number, saga_id, run, sequence, at, type, status, state, step, progress, message, metadata::json,
               correlation_id, traceparent
        FROM json_to_recordset(history_rows) AS given (
            number bigint, saga_id text, run bigint, sequence bigint, at timestamptz, type text, status text,
            state text, step text, progress float8, message text, metadata text, correlation_id text,
            traceparent text, newest bigint
        )
        WHERE at >= coalesce(history_since, '-infinity')
          AND (history_length IS NULL OR sequence > newest - history_length);
        IF longest > history_length THEN
            -- Of a run with more events than are kept, the oldest ones go.
            DELETE FROM tracker.history
            USING (
                SELECT DISTINCT saga_id, run, newest
                FROM json_to_recordset(history_rows) AS given (saga_id text, run bigint, newest bigint)
                WHERE newest > history_length
            ) AS long
            WHERE (history.saga_id, history.run) = (long.saga_id, long.run)
              AND history.sequence <= long.newest - history_length;
        END IF;
    END IF;

    IF delivery_rows IS NOT NULL THEN
        -- The notifier may tell of an attempt twice: what is said of the newest attempt holds, and that it was the last.
        INSERT INTO tracker.deliveries AS known (
            delivery_id, number, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts,
            error, status_code, next_attempt_at, first_at, updated_at
        )
        SELECT delivery_id, number, endpoint_id, event_id, event_type, saga_id, run, correlation_id, status, attempts,
               error, status_code, next_attempt_at, first_at, updated_at
        FROM json_to_recordset(delivery_rows) AS given (
            delivery_id text, number bigint, endpoint_id text, event_id text, event_type text, saga_id text, run bigint,
            correlation_id text, status text, attempts bigint, error text, status_code bigint,
            next_attempt_at timestamptz, first_at timestamptz, updated_at timestamptz
        )
        ON CONFLICT (delivery_id) DO UPDATE
        SET status = excluded.status, attempts = excluded.attempts, error = excluded.error,
            status_code = excluded.status_code, next_attempt_at = excluded.next_attempt_at,
            updated_at = excluded.updated_at
        WHERE (excluded.attempts, excluded.status = 'exhausted') > (known.attempts, known.status = 'exhausted');

        INSERT INTO tracker.delivery_attempts (
            delivery_id, attempt, what, number, at, status_code, error, next_attempt_at
        )
        SELECT delivery_id, attempt, what, number, at, status_code, error, next_attempt_at
        FROM json_to_recordset(delivery_attempt_rows) AS given (
            delivery_id text, attempt bigint, what text, number bigint, at timestamptz, status_code bigint, error text,
            next_attempt_at timestamptz
        )
        ON CONFLICT (delivery_id, attempt, what) DO NOTHING;
    END IF;

    IF audit_rows IS NOT NULL THEN
        INSERT INTO tracker.audit (
            audit_id, number, at, until, service, action, target, outcome, actor, role, reason, client,
            correlation_id, count
        )
        SELECT audit_id, number, at, until, service, action, target, outcome, actor, role, reason, client,
               correlation_id, count
        FROM json_to_recordset(audit_rows) AS given (
            audit_id text, number bigint, at timestamptz, until timestamptz, service text, action text, target text,
            outcome text, actor text, role text, reason text, client text, correlation_id text, count bigint
        )
        WHERE at >= coalesce(audit_since, '-infinity')
        ON CONFLICT (audit_id, at) DO NOTHING;
    END IF;

    -- The events that stand otherwise now: the given ones, and those that have started or joined a run that moved. Their
    -- rows are there from now on and locked, in the order of their ids, so that no two projectors wait for each other.
    -- What others changed is visible to the statements after this one.
    WITH affected AS MATERIALIZED (
        SELECT unnest(touched) AS event_id
        UNION
        SELECT links.event_id
        FROM tracker.links
        JOIN json_to_recordset(moved_keys) AS moved (saga_id text, run bigint) USING (saga_id, run)
    ), held AS (
        INSERT INTO tracker.standings (event_id)
        SELECT event_id
        FROM affected
        ORDER BY event_id
        -- locks the row that is there, and leaves it
        ON CONFLICT (event_id) DO UPDATE SET event_id = excluded.event_id WHERE FALSE
    )
    SELECT array_agg(event_id)
    INTO standing
    FROM affected;

    -- How they stand is computed anew, and each moves from one count of the rollups to another; the given counts are
    -- added too. What began before counted_since counts only in the sums since ever, the minute -infinity. Rollups are
    -- shared by all projectors: they come last, in one order.
    -- Once the transaction is committed, whoever waits on the channel is woken: those of the given correlation ids, those
    -- of every webhook that is processed now, and those of every one that started or joined a run that ended. Beyond
    -- most_bytes, everybody (ids: null).
    WITH now AS (
        SELECT held.event_id, webhooks.number, webhooks.received_at, webhooks.source, webhooks.event_type,
               webhooks.correlation_id, routed.routed_at, routed.reprocessed, coalesce(routed.lost, 0) AS lost,
               ended.open, ended.completed, ended.failed, ended.settled_at
        FROM unnest(standing) AS held (event_id)
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
        FROM json_to_recordset(rollup_rows) AS given (
            minute timestamptz, kind text, source text, type text, outcome text, count bigint, milliseconds bigint
        )
    ), summed AS (
        INSERT INTO tracker.rollups AS known (minute, kind, source, type, outcome, count, total_ms)
        SELECT minutes.minute, kind, source, type, outcome, sum(count), sum(milliseconds)
        FROM counted
        CROSS JOIN LATERAL (VALUES (counted.minute), ('-infinity')) AS minutes (minute)
        WHERE minutes.minute = '-infinity' OR minutes.minute >= coalesce(counted_since, '-infinity')
        GROUP BY minutes.minute, kind, source, type, outcome
        HAVING sum(count) <> 0 OR sum(milliseconds) <> 0
        ORDER BY minutes.minute, kind, source, type, outcome
        ON CONFLICT (minute, kind, source, type, outcome) DO UPDATE
        SET count = known.count + excluded.count, total_ms = known.total_ms + excluded.total_ms
    ), ids AS (
        SELECT unnest(waited_for) AS id
        UNION
        SELECT correlation_id FROM moved WHERE processed
        UNION
        SELECT links.correlation_id
        FROM tracker.links
        JOIN json_to_recordset(ended_keys) AS ended (saga_id text, run bigint) USING (saga_id, run)
    ), news AS (
        SELECT json_build_object('ids', coalesce(json_agg(id), '[]'), 'offsets', news_of_offsets)::text AS all_named,
               json_build_object('ids', null, 'offsets', news_of_offsets)::text AS none_named
        FROM ids
    )
    SELECT CASE WHEN octet_length(all_named) <= most_bytes THEN all_named ELSE none_named END
    INTO told
    FROM news;
    IF channel IS NOT NULL THEN
        PERFORM pg_notify(channel, told);
    END IF;
END
$store$;
