-- Whether a day holds answers that Kafka may lack. Such a day stays, but not longer than twice the retention: a group
-- that was given up never emits its last answers. Both the database's clock and a worker's clock, whose day is $3, have
-- to agree. Read only, under the lanes' locks.
SELECT $1::date >= least((now() AT TIME ZONE 'UTC')::date, $3::date) - 2 * $2::int
   AND EXISTS (
           SELECT FROM lane
            WHERE emitted <= (SELECT max(l."offset") FROM ledger l WHERE l.lane_id = lane.id AND l.recorded_on = $1)
       )
