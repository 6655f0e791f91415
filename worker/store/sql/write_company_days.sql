-- Writes the counts of a worker of a group ($1, $2) by day ($3) and company ($4): answered ($5) and refused commands
-- ($6), and when one was last accepted ($7). Safe to repeat: a worker's counts of a day only grow.
INSERT INTO company_day AS kept (day, company_id, group_id, member, answered, refused, accepted_at)
SELECT said.day, said.company_id, $1, $2, said.answered, said.refused, said.accepted_at
  FROM unnest($3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[])
    AS said (day, company_id, answered, refused, accepted_at)
 ORDER BY 1, 2
    ON CONFLICT (day, company_id, group_id, member) DO UPDATE
   SET answered = greatest(kept.answered, excluded.answered), refused = greatest(kept.refused, excluded.refused),
       accepted_at = greatest(kept.accepted_at, excluded.accepted_at)
