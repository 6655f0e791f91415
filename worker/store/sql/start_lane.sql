-- Begins a lane that never ran, and notes the ids of its topic. Safe: changes nothing when the epoch is not ours, and
-- replaces neither a position nor a topic.
UPDATE lane
   SET applied = coalesce(applied, $3), emitted = coalesce(emitted, $3), ledger_from = coalesce(ledger_from, $3),
       cluster_id = coalesce(cluster_id, $4), topic_id = coalesce(topic_id, $5)
 WHERE id = $1 AND epoch = $2 AND holder = $6 AND (applied IS NULL OR topic_id IS NULL)
