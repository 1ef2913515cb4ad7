-- What there is, for the metrics.

-- name: count_endpoints()
-- Those that people made, by their state. An open circuit is one until an attempt succeeds.
SELECT
    CASE
        WHEN disabled_at IS NOT NULL THEN 'disabled'
        WHEN NOT enabled THEN 'off'
        WHEN health.open_until IS NOT NULL THEN 'circuit_open'
        ELSE 'well'
    END AS state,
    count(*) AS count
FROM notifier.endpoints AS endpoint
LEFT JOIN notifier.endpoint_health AS health ON health.endpoint_id = endpoint.id
WHERE origin <> 'notify_url' AND deleted_at IS NULL
GROUP BY state;

-- name: count_waiting()^
SELECT
    (SELECT count(*) FROM notifier.deliveries WHERE status = 'pending') AS deliveries,
    (SELECT count(*) FROM notifier.outbox) AS outbox;
