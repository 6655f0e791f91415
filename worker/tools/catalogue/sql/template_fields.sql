-- The fields of templates, as JSON texts. Read only.
SELECT id, fields::text AS fields FROM template WHERE id = ANY ($1::text[])
