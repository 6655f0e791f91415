-- Moves a lane past commands that have expired. Safe: changes nothing when the epoch is not ours, or the lane
-- has moved.
UPDATE lane
   SET applied = $3
 WHERE id = $1 AND epoch = $2 AND holder = $5 AND applied = $4
RETURNING id
