-- First lock of a batch: its lanes, in the order of ids. Whoever raised an epoch meanwhile is seen here, and whoever
-- wants to raise one waits.
SELECT id, epoch, holder, applied
  FROM lane
 WHERE id = ANY ($1::int[])
 ORDER BY id
   FOR UPDATE
