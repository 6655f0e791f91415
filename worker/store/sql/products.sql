-- Products with what seeds the fields of their passports, as JSON texts; then, without a product id, each of their
-- templates once. Read only; one statement, so that a product and its template fit each other.
WITH found AS MATERIALIZED (
    SELECT id, company_id, template_id, default_field_values::text AS defaults FROM product WHERE id = ANY ($1::text[])
)
SELECT id, company_id, template_id, defaults FROM found
 UNION ALL
SELECT NULL, NULL, t.id, t.fields::text
  FROM (SELECT DISTINCT template_id FROM found) AS used
  JOIN template t ON t.id = used.template_id
