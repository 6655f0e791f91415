-- Passports of a company ($1: its number) with their charges, in the order of GTIN and serial number: at most $4 of those
-- after a GTIN ($2) and serial number ($3). A created event comes as its own values and its frame. Read only, by unique
-- index.
SELECT encode(p.id, 'hex') AS id, p.gtin, p.serial, p.frame_id, p.gs1, p.rest,
       round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms, o.price_cents, o.charged_at
  FROM passport p
  LEFT JOIN overage_charge o ON o.company_number = p.company_number AND o.passport_id = p.id
 WHERE p.company_number = $1 AND (p.gtin, p.serial) > ($2, $3)
 ORDER BY p.gtin, p.serial
 LIMIT $4
