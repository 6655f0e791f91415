-- Products with what seeds the fields of their passports, as JSON texts; then, without a product id, each of their
-- templates once. Read only; one statement, so that a catalogue load is seen whole.
WITH found AS MATERIALIZED (
    SELECT p.id, p.company_id, p.template_id, p.default_field_values::text AS defaults, c.prefill::text AS prefill
      FROM product p
      JOIN company c ON c.id = p.company_id
     WHERE p.id = ANY ($1::text[])
)
SELECT id, company_id, template_id, defaults, prefill FROM found
 UNION ALL
SELECT NULL, NULL, t.id, t.fields::text, NULL
  FROM (SELECT DISTINCT template_id FROM found) AS used
  JOIN template t ON t.id = used.template_id
