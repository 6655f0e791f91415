-- Marks an operation as resumed, with its progress, which names who resumed it. Safe to repeat.
UPDATE operation SET ended_at = NULL, outcome = NULL, progress = $2 WHERE id = $1
