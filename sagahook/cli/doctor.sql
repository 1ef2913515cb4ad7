-- What the doctor asks of PostgreSQL, beside what the status API asks too (services/tracker, stuck.sql).

-- name: deployed()^
-- How many sagas there are, in how many versions.
SELECT count(DISTINCT name) AS sagas, count(*) AS versions FROM tracker.definitions;

-- name: needed()
-- Versions that no runner has, or that another history fits, and how many sagas wait for each.
SELECT name, version, count(*) AS sagas
FROM tracker.runs
WHERE status = 'running' AND state = 'SUSPENDED' AND cause = 'definition'
  AND NOT EXISTS (
      SELECT FROM tracker.runs AS newer WHERE newer.saga_id = runs.saga_id AND newer.run > runs.run
  )
GROUP BY name, version
ORDER BY sagas DESC, name, version;

-- name: endpoints_in_trouble(now, failing_before)
-- Endpoints that people want to be told and that are not: switched off by the notifier, left alone for now, or without a
-- success for long; the worst first.
SELECT endpoints.id, disabled_at, disabled_reason, failing_since, open_until, error
FROM notifier.endpoints
LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = endpoints.id
WHERE deleted_at IS NULL AND enabled
  AND (disabled_at IS NOT NULL OR open_until > :now::timestamptz OR failing_since < :failing_before::timestamptz)
ORDER BY disabled_at, failing_since, endpoints.id;

-- name: exhausted(since)$
-- Deliveries that were given up since then.
SELECT count(*)
FROM notifier.deliveries
WHERE status = 'exhausted' AND created_at >= :since::timestamptz;

-- name: durability()
-- Settings that lose what was committed when the machine fails, where they are not as they should be.
SELECT name, setting
FROM pg_settings
WHERE (name, setting) IN (('fsync', 'off'), ('full_page_writes', 'off'), ('synchronous_commit', 'off'));

-- name: is_encrypted()$
SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();
