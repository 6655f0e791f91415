-- Templates as they are stored: the named ones ($1; null: all), of one company's products ($2; null: all). Read only.
SELECT id AS row_id, NULL AS row_company, id AS _id, category, version, fields::text AS fields
  FROM template
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id IN (SELECT template_id FROM product WHERE company_id = $2))
 ORDER BY id
