-- Passports that already have a GTIN and serial number. Read only, under the lock of the company that owns the GTIN.
SELECT p.gtin, p.serial, p.id
  FROM unnest(string_to_array($1, E'\x1f'), string_to_array($2, E'\x1f')) AS asked (gtin, serial)
  JOIN passport p ON p.gtin = asked.gtin AND p.serial = asked.serial
