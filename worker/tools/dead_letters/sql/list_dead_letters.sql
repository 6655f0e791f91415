-- Dead letters of a group's lanes ($1) on some topics ($2), newest first, at most $9, with the state of their redriving. $3
-- are partitions (empty: all), $4 and $5 offsets, $6 and $7 append times, $8 a code (null: any). Read only, backwards
-- by the lanes' primary key; a rare code is searched for among all dead letters of a lane. Values are not read.
SELECT lane.topic, lane.partition, found."offset", found.reason, found.appended_at, found.key, found.value_bytes,
       coalesce(found.company_id, answered.company_id) AS company_id, redriven.times, redriven.new_offset, redriven.operation_id
  FROM lane
 CROSS JOIN LATERAL (
           SELECT d."offset", d.reason, l.appended_at, l.company_id, substring(d.key FOR 256) AS key,
                  octet_length(d.value) AS value_bytes
             FROM dead_letter d
             LEFT JOIN ledger l
               ON l.lane_id = d.lane_id AND l."offset" = d."offset" AND l.recorded_on = d.recorded_on
            WHERE d.lane_id = lane.id
              AND ($4::bigint IS NULL OR d."offset" >= $4)
              AND ($5::bigint IS NULL OR d."offset" < $5)
              AND ($6::timestamptz IS NULL OR l.appended_at >= $6)
              AND ($7::timestamptz IS NULL OR l.appended_at < $7)
              AND ($8::text IS NULL OR d.reason = $8)
            ORDER BY d."offset" DESC
            LIMIT $9
       ) AS found
  LEFT JOIN LATERAL (
           SELECT times, new_offset, operation_id
             FROM redrive r
            WHERE r.topic = lane.topic AND r.partition = lane.partition AND r."offset" = found."offset"
            ORDER BY times DESC
            LIMIT 1
       ) AS redriven ON true
  LEFT JOIN ledger answered ON answered.lane_id = lane.id AND answered."offset" = redriven.new_offset
 WHERE lane.group_id = $1 AND lane.topic = ANY ($2::text[]) AND (cardinality($3::int[]) = 0 OR lane.partition = ANY ($3))
 ORDER BY found.appended_at DESC NULLS LAST, lane.topic, lane.partition, found."offset" DESC
 LIMIT $9
