-- Minutes that ended more than $1 days ago, at most $2 rows of them.
DELETE FROM activity
 WHERE (minute, group_id, member) IN (
       SELECT minute, group_id, member FROM activity WHERE minute < now() - $1::int * interval '1 day' LIMIT $2
       )
