-- Note where a command was published again, and the operation that knows it. Safe to repeat: the place is a fact.
UPDATE redrive
   SET new_offset = $5, operation_id = $6
 WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND times = $4
