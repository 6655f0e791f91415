-- Every lane of a group on a topic. Read only.
SELECT id, partition, epoch, applied, emitted, ledger_from, cluster_id, topic_id, generation_id, member_id, producers
  FROM lane
 WHERE group_id = $1 AND topic = $2
 ORDER BY partition
