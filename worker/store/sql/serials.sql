-- Passports that have a GTIN and serial number of a company. Read only, under the company's lock.
SELECT p.gtin, p.serial, encode(p.id, 'hex') AS id
  FROM unnest($1::int[], string_to_array($2, E'\x1f'), string_to_array($3, E'\x1f')) AS asked (company_number, gtin, serial)
  JOIN passport p ON p.company_number = asked.company_number AND p.gtin = asked.gtin AND p.serial = asked.serial
