-- Products with all that seeds the fields of their passports, as JSON texts. Read only.
SELECT p.id, p.company_id, p.template_id, t.fields::text AS template_fields,
       p.default_field_values::text AS product_defaults, c.prefill::text AS company_prefill
  FROM product p
  JOIN template t ON t.id = p.template_id
  JOIN company c ON c.id = p.company_id
 WHERE p.id = ANY ($1::text[])
