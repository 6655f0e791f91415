-- First lock of a batch: whoever raised the epoch meanwhile is seen here, and whoever wants to raise it waits.
SELECT epoch, applied FROM lane WHERE id = $1 FOR UPDATE
