-- The time of the newest backup that `backup-taken` noted, in Unix seconds. Read only; reads a row an operation.
SELECT extract(epoch FROM max((arguments ->> 'takenAt')::timestamptz))::float8
  FROM operation
 WHERE verb = 'backup-taken' AND outcome = 'done'
