-- Takes back a company's claims without a passport: only a created passport registers a GTIN. Safe: the rows are this
-- transaction's own. Looked up row by row, as `record.sql` says.
DELETE FROM gtin_registration r
 USING unnest($1::text[], $2::text[]) AS claimed (gtin, company_id),
       LATERAL (SELECT ctid FROM gtin_registration WHERE gtin = claimed.gtin LIMIT 1) AS claim
 WHERE r.ctid = claim.ctid AND r.company_id = claimed.company_id
