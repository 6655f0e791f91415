-- Sessions that have kept others of this database waiting for a lock for longer than $1 seconds, and do not wait
-- themselves. The server shows state and time of other roles' sessions only to members of pg_read_all_stats. Read only.
SELECT holder.pid, holder.usename AS role, holder.application_name AS application, host(holder.client_addr) AS address,
       holder.state, holder.xact_start AS since, count(DISTINCT waiting.pid)::int AS kept_waiting
  FROM pg_locks AS waiting
  JOIN pg_stat_activity AS waiter ON waiter.pid = waiting.pid AND waiter.datname = current_database()
 CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
  LEFT JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
 WHERE waiting.waitstart < clock_timestamp() - make_interval(secs => $1)
   AND NOT EXISTS (SELECT FROM pg_locks AS own WHERE own.pid = holder.pid AND NOT own.granted)
 GROUP BY holder.pid, holder.usename, holder.application_name, holder.client_addr, holder.state, holder.xact_start
 ORDER BY kept_waiting DESC, holder.pid
