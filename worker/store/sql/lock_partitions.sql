-- Locks the lanes of partitions ($2, $3) in the order of ids, as batches do, and returns their owners.
SELECT topic, partition, generation_id, member_id
  FROM lane
 WHERE group_id = $1 AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))
 ORDER BY id
   FOR UPDATE
