-- Products of a company ($1). Read only; there is no index on the company, so this reads the table.
SELECT id, template_id, name, model, default_field_values::text AS default_field_values
  FROM product
 WHERE company_id = $1
 ORDER BY id
