-- Inserts the counter of each company, which batches lock. Safe: leaves existing counters alone, and waits for none.
INSERT INTO company_usage (company_number)
SELECT number FROM company WHERE id = ANY ($1::text[]) ORDER BY number
    ON CONFLICT (company_number) DO NOTHING
