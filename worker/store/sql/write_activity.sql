-- Writes the counts ($4) of a worker of a group ($1, $2) in some minutes ($3) over those that it wrote before.
INSERT INTO activity (minute, group_id, member, counts)
SELECT said.minute, $1, $2, said.counts
  FROM unnest($3::timestamptz[], $4::jsonb[]) AS said (minute, counts)
    ON CONFLICT (minute, group_id, member) DO UPDATE SET counts = excluded.counts
