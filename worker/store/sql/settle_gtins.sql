-- Gives GTINs that one company claimed ($2) to the companies that created the first passport ($3). Safe: the rows are this
-- transaction's own, and others do not see them. Looked up row by row, as `record.sql` says.
UPDATE gtin_registration r
   SET company_id = owned.company_id
  FROM unnest($1::text[], $2::text[], $3::text[]) AS owned (gtin, claimed_by, company_id),
       LATERAL (SELECT ctid FROM gtin_registration WHERE gtin = owned.gtin LIMIT 1) AS claim
 WHERE r.ctid = claim.ctid AND r.company_id = owned.claimed_by
