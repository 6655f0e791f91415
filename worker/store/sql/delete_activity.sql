-- Deletes at most $2 rows of minutes that ended more than $1 days ago.
DELETE FROM activity
 WHERE (minute, group_id, member) IN (
       SELECT minute, group_id, member FROM activity WHERE minute < now() - $1::int * interval '1 day' LIMIT $2
       )
