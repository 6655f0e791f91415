-- Records how an operation ended, and how far it got. Once it is done, earlier runs of the same command that were
-- killed are over, too; a run that still continues records its own end later. An operation may be a single transaction,
-- in which now() never changes. Safe to repeat.
WITH own AS (
    SELECT verb, arguments, begun_at FROM operation WHERE id = $1
), killed AS (
    UPDATE operation o
       SET ended_at = clock_timestamp(), outcome = 'interrupted'
      FROM own
     WHERE $2 = 'done' AND o.verb = own.verb AND o.arguments = own.arguments AND o.begun_at < own.begun_at
       AND o.ended_at IS NULL
)
UPDATE operation SET ended_at = clock_timestamp(), outcome = $2, progress = $3 WHERE id = $1
