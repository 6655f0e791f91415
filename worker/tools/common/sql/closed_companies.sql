-- The times from which on companies are closed, of those with these ids ($1). Read only, by index.
SELECT id, closed_at FROM company WHERE id = ANY ($1::text[]) AND closed_at IS NOT NULL
