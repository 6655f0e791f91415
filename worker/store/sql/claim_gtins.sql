-- Third lock of a batch: GTINs that nobody has registered, sorted. A row that is returned is ours to settle before
-- the commit; where another batch was first we have waited for its end, and its registration is read again.
INSERT INTO gtin_registration (gtin, company_id)
SELECT gtin, company_id
  FROM unnest($1::text[], $2::text[]) AS wanted (gtin, company_id)
 ORDER BY gtin
    ON CONFLICT ON CONSTRAINT gtin_registration_gtin_key DO NOTHING
RETURNING gtin
