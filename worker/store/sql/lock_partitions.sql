-- Locks the lanes of partitions in the order of ids, as batches do, and returns their owners.
SELECT partition, generation_id, member_id
  FROM lane
 WHERE group_id = $1 AND topic = $2 AND partition = ANY ($3::int[])
 ORDER BY id
   FOR UPDATE
