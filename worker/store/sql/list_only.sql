-- Lists one producer ($4) for lanes, after the transactions of all others have ended. Safe: changes nothing where the
-- epoch is not ours, so a worker that registered meanwhile keeps the list that it saw. Locks the rows first, in the order
-- of batches.
WITH locked AS (
    SELECT id FROM lane WHERE id = ANY ($1::int[]) ORDER BY id FOR UPDATE
)
UPDATE lane
   SET producers = ARRAY[$4]
  FROM locked
  JOIN unnest($1::int[], $2::bigint[], $3::text[]) AS ours (id, epoch, holder) USING (id)
 WHERE lane.id = ours.id AND lane.epoch = ours.epoch AND lane.holder = ours.holder
RETURNING lane.id
