-- What a worker of a group ($1, $2) did in some minutes ($3, counts $4), in place of what it said of them before.
INSERT INTO activity (minute, group_id, member, counts)
SELECT said.minute, $1, $2, said.counts
  FROM unnest($3::timestamptz[], $4::jsonb[]) AS said (minute, counts)
    ON CONFLICT (minute, group_id, member) DO UPDATE SET counts = excluded.counts
