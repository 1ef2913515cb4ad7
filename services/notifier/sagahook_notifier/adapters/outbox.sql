-- Outcomes on their way to Kafka: each row holds the messages of one transaction.

-- name: become_publisher()$
-- Whether this connection is the only one that publishes, from now until it is closed or given back: the order of
-- the outbox is kept by there being one.
SELECT pg_try_advisory_lock(hashtext('sagahook.notifier'), hashtext('outbox'));

-- name: first(most)
SELECT id, keys, headers, payloads
FROM notifier.outbox
ORDER BY id
LIMIT :most;

-- name: remove(ids)!
DELETE FROM notifier.outbox
WHERE id = ANY (:ids::bigint[]);
