-- A lane that the database has forgotten, or never knew. Safe: does nothing where it is there.
INSERT INTO lane (group_id, topic, partition, epoch) VALUES ($1, $2, $3, 1)
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO NOTHING
