-- Every lane of a group, also those of topics that no worker reads any more. Read only.
SELECT id, topic, partition, applied, emitted, ledger_from, cluster_id, topic_id, generation_id
  FROM lane
 WHERE group_id = $1
 ORDER BY topic, partition
