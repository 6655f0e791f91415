-- Bound idempotency keys with the created events that they replay. A key can have two rows; the later one comes last.
-- Days before $2 (since the epoch) are skipped. Yesterday never is: clocks that are days ahead put their keys there, or
-- into tomorrow. The events are left out where all of them together have more than $3 bytes; their lengths are read
-- without them. Read only, under the companies' locks. `LIMIT 1`: see `gather.sql`.
SELECT k.id, k.fingerprint, encode(k.passport_id, 'hex') AS passport_id,
       round(extract(epoch FROM k.created_at) * 1000)::bigint AS created_ms,
       CASE WHEN sum(coalesce(octet_length(f.text), 0) + 300 + coalesce(octet_length(p.gs1), 0)
                     + coalesce(octet_length(p.rest), 0)) OVER () <= $3::bigint THEN p.frame_id END AS frame_id,
       p.gtin, p.serial, p.gs1, p.rest
  FROM idempotency_key k
  JOIN LATERAL (SELECT * FROM passport WHERE id = k.passport_id AND company_number = k.company_number LIMIT 1) AS p ON true
  LEFT JOIN LATERAL (SELECT text FROM passport_frame WHERE id = p.frame_id LIMIT 1) AS f ON true
 WHERE k.id = ANY (ARRAY(SELECT substr($1::bytea, at, 16) FROM generate_series(1, length($1::bytea), 16) AS at))
   AND k.day >= least(date '1970-01-01' + $2::int, (now() AT TIME ZONE 'UTC')::date - 1)
 ORDER BY k.created_at
