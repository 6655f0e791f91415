-- Every lane of a group on some topics. Read only.
SELECT id, topic, partition, epoch, applied, emitted, ledger_from, cluster_id, topic_id, generation_id, member_id, producers
  FROM lane
 WHERE group_id = $1 AND topic = ANY ($2::text[])
 ORDER BY topic, partition
