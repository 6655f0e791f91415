-- Which plans, companies and templates exist, of those that a catalogue refers to. Read only; nothing ever goes.
SELECT (SELECT array_agg(id) FROM plan WHERE id = ANY ($1::text[])) AS plans,
       (SELECT array_agg(id) FROM company WHERE id = ANY ($2::text[])) AS companies,
       (SELECT array_agg(id) FROM template WHERE id = ANY ($3::text[])) AS templates
