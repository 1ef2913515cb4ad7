-- What auditors read. A parameter that is null asks for nothing.

-- name: plan_for_these_values#
-- So that a filter that is not given costs nothing, and one that is finds its index.
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: find_audit(actor, action, outcome, service, target, client, before, after, after_time, after_number, how_many)
-- The newest first. position: what after_time takes.
SELECT audit_id, number, at, until, service, action, target, outcome, actor, role, reason, client, correlation_id,
       count, at::text AS position
FROM tracker.audit
WHERE (:actor::text IS NULL OR actor = :actor::text)
  AND (:action::text IS NULL OR action = :action::text)
  AND (:outcome::text IS NULL OR outcome = :outcome::text)
  AND (:service::text IS NULL OR service = :service::text)
  AND (:target::text IS NULL OR target = :target::text)
  AND (:client::text IS NULL OR client = :client::text)
  AND (:before::timestamptz IS NULL OR at < :before::timestamptz)
  AND (:after::timestamptz IS NULL OR at > :after::timestamptz)
  AND (:after_time::text IS NULL OR (at, number) < (:after_time::text::timestamptz, :after_number::bigint))
ORDER BY at DESC, number DESC
LIMIT :how_many::bigint;
