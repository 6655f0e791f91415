-- Notes that a command is about to be published again. Returns no row if another process has noted the same. Safe:
-- one row, committed before anything is sent.
INSERT INTO redrive (topic, partition, "offset", times, operation_id, log_end)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
RETURNING times
