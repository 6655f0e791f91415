-- An operation that goes on. Safe: what it did before is kept in its progress.
UPDATE operation SET ended_at = NULL, outcome = NULL WHERE id = $1
