-- A fresh schema beside the one that serves (tracker), and how it takes its place: tracker_next, tracker_old.

-- name: take_turn()$
-- Whether nobody else rebuilds, as long as this connection lives.
SELECT pg_try_advisory_lock(hashtext('sagahook.rebuild'), hashtext('tracker'));

-- name: schemas()
-- Which of them there are, with the remark that a rebuild left.
SELECT nspname AS name, obj_description(oid, 'pg_namespace') AS remark
FROM pg_namespace
WHERE nspname IN ('tracker', 'tracker_next', 'tracker_old');

-- name: versions()
SELECT serving.version_num AS serving, fresh.version_num AS fresh
FROM tracker.schema_version AS serving, tracker_next.schema_version AS fresh;

-- name: grants()
-- What others may do with what serves, as statements for the fresh one. What is a partition is reached by its table.
SELECT format(
    'GRANT %s ON %s TO %s%s', privilege_type, thing,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
) AS statement
FROM (
    SELECT 'SCHEMA tracker_next' AS thing, acl.*
    FROM pg_namespace, aclexplode(nspacl) AS acl
    WHERE nspname = 'tracker' AND acl.grantee <> nspowner
    UNION ALL
    SELECT format('tracker_next.%I', relname), acl.*
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE relnamespace = 'tracker'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND acl.grantee <> relowner
) AS granted;

-- name: tables()
-- Those of the fresh schema, by which the planner must know them before anybody asks.
SELECT relname AS name
FROM pg_class
WHERE relnamespace = 'tracker_next'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname;

-- name: records_behind(topics)$
-- How many records what serves has seen that the fresh one has not. What serves may be of an earlier generation of
-- topics: of that the fresh one sees nothing.
SELECT coalesce(sum(greatest(0, serving.next_offset - coalesce(fresh.next_offset, 0))), 0)::bigint
FROM tracker.offsets AS serving
LEFT JOIN tracker_next.offsets AS fresh USING (topic, partition)
WHERE topic = ANY (:topics);

-- name: be_quick#
-- The gate is closed for a moment, or not at all; and if this process stands still, it opens by itself.
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '5s';
SET LOCAL idle_in_transaction_session_timeout = '10s';

-- name: swap#
-- Names change; no table is locked, and who reads one reads on. Whoever waits for the views looks again.
ALTER SCHEMA tracker RENAME TO tracker_old;
ALTER SCHEMA tracker_next RENAME TO tracker;
NOTIFY sagahook_tracker, '{"ids": null, "offsets": null}';
