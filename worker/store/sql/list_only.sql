-- All that other producers left open for lanes has ended: list ours ($3) alone. Safe: changes nothing where the epoch is
-- not ours, so whoever registered meanwhile keeps the list that it saw.
UPDATE lane
   SET producers = ARRAY[$3]
  FROM unnest($1::int[], $2::bigint[]) AS ours (id, epoch)
 WHERE lane.id = ours.id AND lane.epoch = ours.epoch
RETURNING lane.id
