-- The position of a lane, what it counts in, and the epoch that tells whether it is still ours. Read only.
SELECT epoch, applied, emitted, ledger_from, cluster_id, topic_id FROM lane WHERE id = $1
