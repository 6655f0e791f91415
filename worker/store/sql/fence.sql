-- Raise the epoch of a lane for a member of the group, unless a member of a newer generation holds it ($6 overrides).
-- Safe: one row, one statement; whoever holds the lower epoch finds out when it locks the lane.
INSERT INTO lane (group_id, topic, partition, epoch, generation, member)
VALUES ($1, $2, $3, 1, $4, $5)
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO UPDATE
   SET epoch = lane.epoch + 1, generation = excluded.generation, member = excluded.member
 WHERE lane.generation <= excluded.generation OR $6
RETURNING id, epoch
