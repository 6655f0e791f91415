-- Writes the products of a catalogue file; others stay. Safe: passports hold the values that they were created with.
INSERT INTO product (id, company_id, template_id, name, model, default_field_values)
SELECT id, company_id, template_id, name, model, default_field_values::json
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS row (id, company_id, template_id, name, model, default_field_values)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET company_id = excluded.company_id, template_id = excluded.template_id, name = excluded.name,
       model = excluded.model, default_field_values = excluded.default_field_values
