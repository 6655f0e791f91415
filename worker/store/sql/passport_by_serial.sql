-- Which passport has a GTIN and a serial number, and when it was created. Read only, by passport_gtin_serial_key.
SELECT id, round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms FROM passport WHERE gtin = $1 AND serial = $2
