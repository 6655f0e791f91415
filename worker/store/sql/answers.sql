-- Answers as they were recorded, in input order, with their dead letters: at most $4 of them and about $5 bytes of
-- memory, but at least one. The lengths are read without the values. A created event comes as its passport's own values
-- and its frame. Read only. `LIMIT 1`: see `gather.sql`.
SELECT "offset", appended_ms, kind, replayed, key, company_id, encode(passport_id, 'hex') AS passport_id,
       traceparent, tracestate, value, reason, dead_key, dead_value, header_names, header_values, frame_id, gtin, serial, created_ms, gs1, rest
  FROM (SELECT *, sum(bytes_of_value + coalesce(octet_length(dead_value), 0) + coalesce(octet_length(dead_key), 0)
                      + (SELECT coalesce(sum(100 + octet_length(h.name) + coalesce(octet_length(h.value), 0)), 0)
                           FROM unnest(header_names, header_values) AS h (name, value)))
                      OVER (ORDER BY "offset") AS bytes,
               row_number() OVER (ORDER BY "offset") AS place
          FROM (SELECT l."offset", round(extract(epoch FROM l.appended_at) * 1000)::bigint AS appended_ms, l.kind,
                       l.replayed, l.key, l.company_id, l.passport_id, l.traceparent, l.tracestate,
                       l.value, coalesce(octet_length(l.value), octet_length(f.text) + 300
                                                         + coalesce(octet_length(p.gs1), 0) + coalesce(octet_length(p.rest), 0))
                           AS bytes_of_value,
                       d.reason, d.key AS dead_key, d.value AS dead_value, d.header_names, d.header_values,
                       p.frame_id, p.gtin, p.serial, round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms,
                       p.gs1, p.rest
                  FROM ledger l
                  LEFT JOIN LATERAL (SELECT * FROM passport WHERE id = l.passport_id LIMIT 1) AS p ON true
                  LEFT JOIN LATERAL (SELECT text FROM passport_frame WHERE id = p.frame_id LIMIT 1) AS f ON true
                  LEFT JOIN dead_letter d
                    ON d.lane_id = l.lane_id AND d."offset" = l."offset" AND d.recorded_on = l.recorded_on
                 WHERE l.lane_id = $1 AND l."offset" >= $2 AND l."offset" < $3
                 ORDER BY l."offset"
                 LIMIT $4) AS found) AS measured
 WHERE bytes <= $5 OR place = 1
 ORDER BY "offset"
