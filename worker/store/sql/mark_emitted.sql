-- Raises lower bounds of the emission positions. Safe: never lowers one, and never passes the applied position. Locks
-- the rows first, in the order of batches.
WITH locked AS (
    SELECT id FROM lane WHERE id = ANY ($1::int[]) ORDER BY id FOR UPDATE
)
UPDATE lane l
   SET emitted = out.emitted
  FROM locked
  JOIN unnest($1::int[], $2::bigint[], $3::text[], $4::bigint[]) AS out (id, epoch, holder, emitted) USING (id)
 WHERE l.id = out.id AND l.epoch = out.epoch AND l.holder = out.holder AND l.emitted < out.emitted AND l.applied >= out.emitted
