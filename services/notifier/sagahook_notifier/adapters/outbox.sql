-- Outcomes on their way to Kafka: each row holds the messages of one transaction.

-- name: first(most)
SELECT id, keys, headers, payloads
FROM notifier.outbox
ORDER BY id
LIMIT :most;

-- name: remove(ids)!
DELETE FROM notifier.outbox
WHERE id = ANY (:ids::bigint[]);
