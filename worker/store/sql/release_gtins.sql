-- Takes back a company's claims without a passport: only a created passport registers a GTIN. Safe: the rows are this
-- transaction's own.
DELETE FROM gtin_registration r
 USING unnest($1::text[], $2::text[]) AS claimed (gtin, company_id)
 WHERE r.gtin = claimed.gtin AND r.company_id = claimed.company_id AND r.gtin = ANY ($1::text[])  -- read by the index
