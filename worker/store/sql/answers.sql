-- Answers as they were recorded, in input order, with their dead letters. Read only.
SELECT l."offset", round(extract(epoch FROM l.appended_at) * 1000)::bigint AS appended_ms, l.kind, l.replayed, l.key,
       l.company_id, l.passport_id, l.traceparent, l.tracestate, coalesce(l.value, p.created_body) AS value,
       d.reason, d.key AS dead_key, d.value AS dead_value, d.header_names, d.header_values
  FROM ledger l
  LEFT JOIN passport p ON p.id = l.passport_id
  LEFT JOIN dead_letter d ON d.lane_id = l.lane_id AND d."offset" = l."offset" AND d.recorded_on = l.recorded_on
 WHERE l.lane_id = $1 AND l."offset" >= $2 AND l."offset" < $3
 ORDER BY l."offset"
 LIMIT $4
