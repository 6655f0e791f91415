-- The counter of each company, which batches lock. Safe: an existing one is left alone, and not waited for.
INSERT INTO company_usage (company_number)
SELECT number FROM company WHERE id = ANY ($1::text[]) ORDER BY number
    ON CONFLICT (company_number) DO NOTHING
