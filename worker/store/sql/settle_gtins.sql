-- Gives claimed GTINs to the companies that created the first passport. Safe: the rows are this transaction's own, and
-- others do not see them.
UPDATE gtin_registration r
   SET company_id = owned.company_id
  FROM unnest($1::text[], $2::text[]) AS owned (gtin, company_id)
 WHERE r.gtin = owned.gtin
