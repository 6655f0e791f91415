-- Raises the epochs of lanes for a member of the group, and adds its producer to those that may have a transaction open
-- in Kafka. A lane that a member of a newer generation holds stays as it is, unless $6 overrides. Safe: the rows are
-- locked already, in the order of batches. A worker with a lower epoch notices when it locks its lanes.
INSERT INTO lane (group_id, topic, partition, epoch, generation_id, member_id, producers)
SELECT $1, topic, partition, 1, $4, $5, ARRAY[$7]
  FROM unnest($2::text[], $3::int[]) AS asked (topic, partition)
 ORDER BY topic, partition
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO UPDATE
   SET epoch = lane.epoch + 1, generation_id = excluded.generation_id, member_id = excluded.member_id,
       producers = array_remove(lane.producers, $7) || excluded.producers
 WHERE lane.generation_id <= excluded.generation_id OR $6
RETURNING topic, partition, id, epoch, producers
