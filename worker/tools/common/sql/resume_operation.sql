-- Marks an operation as going on, with the progress that it has and who goes on. Safe to repeat.
UPDATE operation SET ended_at = NULL, outcome = NULL, progress = $2 WHERE id = $1
