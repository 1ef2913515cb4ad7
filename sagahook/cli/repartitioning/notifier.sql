-- Where the notifier goes on in the saga log, which stands in PostgreSQL beside its deliveries.

-- name: is_there()$
SELECT to_regclass('notifier.offsets') IS NOT NULL;

-- name: offsets(topic)
SELECT partition, next_offset
FROM notifier.offsets
WHERE topic = :topic;

-- name: move(topic, partitions, offsets, old, old_partitions)!
-- All at once; of a move that was begun before, others may be there. read_until: up to where all of the old topic's
-- partitions were read, where that is known.
INSERT INTO notifier.offsets (topic, partition, next_offset, read_until)
SELECT :topic, given.*, read.until
FROM unnest(:partitions::int[], :offsets::bigint[]) AS given
CROSS JOIN (
    SELECT CASE WHEN count(read_until) = :old_partitions THEN min(read_until) END AS until
    FROM notifier.offsets
    WHERE topic = :old
) AS read
ON CONFLICT (topic, partition) DO UPDATE
SET next_offset = excluded.next_offset, read_until = excluded.read_until;

-- name: forget(topic)!
-- What nobody reads any more would keep the fence, which goes no further than what was read least far, where it is.
DELETE FROM notifier.offsets
WHERE topic = :topic;
