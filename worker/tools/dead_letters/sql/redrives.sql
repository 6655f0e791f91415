-- The times that a command was published again, oldest first, with their operations. Read only, by primary key.
SELECT r.times, r.log_end, r.new_offset, r.operation_id, o.who,
       o.outcome IS DISTINCT FROM 'done' AS is_unfinished, o.arguments ->> 'group' AS group_id
  FROM redrive r
  JOIN operation o ON o.id = r.operation_id
 WHERE r.topic = $1 AND r.partition = $2 AND r."offset" = $3
 ORDER BY r.times
