-- name: load_targets(endpoints)
-- What is needed to send to them. version: another one after each change of the row.
SELECT id, url, sealed, signing_source, retry_policy, ordered, xmin::text AS version
FROM notifier.endpoints
WHERE id = ANY (:endpoints::text[]);
