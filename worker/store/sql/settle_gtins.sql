-- Give claimed GTINs to those who created the first passport. Safe: these rows are our own, unseen by others.
UPDATE gtin_registration r
   SET company_id = owned.company_id
  FROM unnest($1::text[], $2::text[]) AS owned (gtin, company_id)
 WHERE r.gtin = owned.gtin
