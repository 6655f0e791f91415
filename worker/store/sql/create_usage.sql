-- The counter of each company, which batches lock. Safe: an existing one is left alone, and not waited for.
INSERT INTO company_usage (company_id)
SELECT id FROM unnest($1::text[]) AS row (id) ORDER BY id
    ON CONFLICT (company_id) DO NOTHING
