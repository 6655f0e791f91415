-- Makes a lane that the database lost or never had. Safe: does nothing if the lane exists.
INSERT INTO lane (group_id, topic, partition, epoch) VALUES ($1, $2, $3, 1)
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO NOTHING
