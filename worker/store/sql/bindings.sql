-- Idempotency keys that are bound, with the created event they replay; of two rows of a key the later one comes last.
-- Read only, under the companies' locks. Days before $2 (since the epoch) are not opened, but yesterday always is: records
-- from clocks that are days ahead have their keys there, or tomorrow, for as long as they stay so far ahead. The events are
-- left out where all of them are more than $3 bytes; the lengths are read without them.
SELECT k.id, k.fingerprint, encode(k.passport_id, 'hex') AS passport_id,
       round(extract(epoch FROM k.created_at) * 1000)::bigint AS created_ms,
       CASE WHEN sum(coalesce(octet_length(f.text), 0) + 300 + coalesce(octet_length(p.gs1), 0)
                     + coalesce(octet_length(p.rest), 0)) OVER () <= $3::bigint THEN p.frame_id END AS frame_id,
       p.gtin, p.serial, p.gs1, p.rest
  FROM idempotency_key k
  JOIN passport p ON p.id = k.passport_id AND p.company_number = k.company_number
  LEFT JOIN passport_frame f ON f.id = p.frame_id
 WHERE k.id = ANY (ARRAY(SELECT substr($1::bytea, at, 16) FROM generate_series(1, length($1::bytea), 16) AS at))
   AND k.day >= least(date '1970-01-01' + $2::int, (now() AT TIME ZONE 'UTC')::date - 1)
 ORDER BY k.created_at
