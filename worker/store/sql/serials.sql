-- Passports that already have a GTIN and serial number. Read only, under the lock of the company that owns the GTIN.
SELECT p.gtin, p.serial, p.id
  FROM unnest($1::text[], $2::text[]) AS asked (gtin, serial)
  JOIN passport p ON p.gtin = asked.gtin AND p.serial = asked.serial
