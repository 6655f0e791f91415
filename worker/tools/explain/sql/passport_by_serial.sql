-- The passport with a GTIN and a serial number, and its creation time. Read only, by primary keys and
-- passport_gtin_serial_key.
SELECT encode(p.id, 'hex'), round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms
  FROM gtin_registration g
  JOIN company c ON c.id = g.company_id
  JOIN passport p ON p.company_number = c.number AND p.gtin = g.gtin AND p.serial = $2
 WHERE g.gtin = $1
