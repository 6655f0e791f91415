-- Writes down how an operation ended, and how far it got. An operation may be one transaction, for which now() is one time.
UPDATE operation SET ended_at = clock_timestamp(), outcome = $2, progress = $3 WHERE id = $1
