-- The plans, companies and templates that exist, of those that a catalogue refers to. Read only; none is ever deleted.
SELECT ARRAY(SELECT id FROM plan WHERE id = ANY ($1::text[])) AS plans,
       ARRAY(SELECT id FROM company WHERE id = ANY ($2::text[])) AS companies,
       ARRAY(SELECT id FROM template WHERE id = ANY ($3::text[])) AS templates
