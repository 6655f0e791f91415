-- Which topic of which cluster a lane's offsets count in, as Kafka's ids: a name can be used again, and its places with it.
-- Lanes learn it when they open next.

ALTER TABLE lane
    ADD COLUMN cluster_id text,
    ADD COLUMN topic_id text,
    ADD CONSTRAINT lane_topic_identity_is_whole CHECK ((cluster_id IS NULL) = (topic_id IS NULL));
