-- The times from which the companies with these ids ($1) are closed. Read only, by index.
SELECT id, closed_at FROM company WHERE id = ANY ($1::text[]) AND closed_at IS NOT NULL
