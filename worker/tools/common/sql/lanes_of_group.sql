-- Every lane of a group, even of topics that no worker reads now. Read only.
SELECT id, topic, partition, applied, emitted, ledger_from, cluster_id, topic_id, generation_id
  FROM lane
 WHERE group_id = $1
 ORDER BY topic, partition
