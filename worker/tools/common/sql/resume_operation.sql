-- Marks an operation as going on. Safe: its progress is kept.
UPDATE operation SET ended_at = NULL, outcome = NULL WHERE id = $1
