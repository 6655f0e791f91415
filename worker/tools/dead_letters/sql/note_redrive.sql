-- Notes where a command was published again, and by which operation. Safe to repeat: the place never changes.
UPDATE redrive
   SET new_offset = $5, operation_id = $6
 WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND times = $4
