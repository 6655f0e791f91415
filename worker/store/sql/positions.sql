-- The positions of lanes, what they count in, and the epochs and holders that tell whether they are still ours. Read only.
SELECT id, epoch, holder, applied, emitted, ledger_from, cluster_id, topic_id FROM lane WHERE id = ANY ($1::int[])
