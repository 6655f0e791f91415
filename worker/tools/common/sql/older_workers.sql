-- Schemas of connected workers that are older than $1. Workers name their schema; any role may read these names. Read
-- only.
SELECT DISTINCT right(application_name, 4) AS schema
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND application_name ~ '^passport-worker [0-9]{4}$'
   AND right(application_name, 4)::int < $1::int
 ORDER BY 1
