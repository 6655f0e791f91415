-- Whether a day holds answers that may not be in Kafka yet: it then stays, but not for more than twice the retention,
-- since a group that was given up never emits its last answers. By the database's clock and by a worker's, whose day is $3.
-- Read only, under the lanes' locks.
SELECT $1::date >= least((now() AT TIME ZONE 'UTC')::date, $3::date) - 2 * $2::int
   AND EXISTS (
           SELECT FROM lane
            WHERE emitted <= (SELECT max(l."offset") FROM ledger l WHERE l.lane_id = lane.id AND l.recorded_on = $1)
       )
