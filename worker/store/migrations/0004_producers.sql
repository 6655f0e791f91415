-- A worker has one transactional producer for all of its lanes, whose id is never used again. `producers` lists the ids that
-- may still have something open in Kafka for a lane: whoever opens it next fences all of them before it asks where Kafka is.
-- The version before had one id a lane, always the same.
--
-- The two columns get the names that Kafka's protocol has for them, which also keeps a worker of the version before, frozen
-- until now, from fencing anybody: its statement fails.

ALTER TABLE lane RENAME COLUMN generation TO generation_id;
ALTER TABLE lane RENAME COLUMN member TO member_id;
ALTER TABLE lane ADD COLUMN producers text[] NOT NULL DEFAULT '{}';
UPDATE lane SET producers = ARRAY[group_id || '.' || topic || '.' || partition];
