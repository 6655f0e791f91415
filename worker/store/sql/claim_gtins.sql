-- Third lock of a batch: GTINs without an owner, sorted. The transaction has to settle each returned row before its
-- commit. Where another batch was first, this one has waited for its end, and reads its registration next.
INSERT INTO gtin_registration (gtin, company_id)
SELECT gtin, company_id
  FROM unnest($1::text[], $2::text[]) AS wanted (gtin, company_id)
 ORDER BY gtin
    ON CONFLICT ON CONSTRAINT gtin_registration_gtin_key DO NOTHING
RETURNING gtin
