-- Writes down how an operation ended, and how far it got.
UPDATE operation SET ended_at = now(), outcome = $2, progress = $3 WHERE id = $1
