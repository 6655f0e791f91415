-- For each lane ($1) the first row of the ledger from an offset ($2) on, and below another ($3). Read only, by primary
-- key: reads one row of each day.
SELECT asked.lane_id, found."offset", found.appended_ms
  FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS asked (lane_id, start, stop),
       LATERAL (SELECT l."offset", round(extract(epoch FROM l.appended_at) * 1000)::bigint AS appended_ms
                  FROM ledger l
                 WHERE l.lane_id = asked.lane_id AND l."offset" >= asked.start AND l."offset" < asked.stop
                 ORDER BY l."offset"
                 LIMIT 1) AS found
