-- Products as they are stored: the named ones ($1; null: all), of one company ($2; null: all). Read only.
SELECT id AS row_id, company_id AS row_company, id AS _id, company_id AS "companyId", template_id AS "templateId", name,
       model, default_field_values::text AS "defaultFieldValues"
  FROM product
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY id
