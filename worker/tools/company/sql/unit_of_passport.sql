-- GTIN and serial number of a passport ($2) of a company ($1: its number). Read only, by primary key.
SELECT gtin, serial FROM passport WHERE id = decode($2, 'hex') AND company_number = $1
