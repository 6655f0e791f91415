-- The JSON texts that seed the fields of passports: the named products ($1) of these companies ($2), then, without a
-- product id, each of their templates and companies once. One statement, so that a product and its template fit each
-- other. The texts are left out where all of them together have more than $3 bytes. Read only.
WITH found AS MATERIALIZED (
    SELECT id, company_id, template_id, default_field_values::text AS text
      FROM product
     WHERE id = ANY ($1::text[])
       AND (company_id IN (SELECT unnest($2::text[]))) IS TRUE  -- hashed; `= ANY` goes through all of them for each row
), seeds AS (
    SELECT * FROM found
     UNION ALL
    SELECT NULL, NULL, t.id, t.fields::text
      FROM (SELECT DISTINCT template_id FROM found) AS used
      JOIN template t ON t.id = used.template_id
     UNION ALL
    SELECT NULL, c.id, NULL, c.prefill::text
      FROM (SELECT DISTINCT company_id FROM found) AS owners
      JOIN company c ON c.id = owners.company_id
)
SELECT id, company_id, template_id, CASE WHEN sum(octet_length(text)) OVER () <= $3::bigint THEN text END AS text FROM seeds
