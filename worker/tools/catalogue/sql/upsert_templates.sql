-- Writes the templates of a catalogue file; others stay. Safe: passports hold the fields that they were created with.
INSERT INTO template (id, category, version, fields)
SELECT id, category, version, fields::json
  FROM unnest($1::text[], $2::text[], $3::int[], $4::text[]) AS row (id, category, version, fields)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET category = excluded.category, version = excluded.version, fields = excluded.fields
