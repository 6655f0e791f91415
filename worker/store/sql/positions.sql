-- The positions of lanes with their topics, and the epochs and holders that show whether a token is still good. Read
-- only.
SELECT id, epoch, holder, applied, emitted, ledger_from, cluster_id, topic_id FROM lane WHERE id = ANY ($1::int[])
