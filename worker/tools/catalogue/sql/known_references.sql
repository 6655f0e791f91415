-- The plans, companies and templates that exist, of those that a catalogue refers to. Read only; none is ever deleted.
SELECT (SELECT array_agg(id) FROM plan WHERE id = ANY ($1::text[])) AS plans,
       (SELECT array_agg(id) FROM company WHERE id = ANY ($2::text[])) AS companies,
       (SELECT array_agg(id) FROM template WHERE id = ANY ($3::text[])) AS templates
