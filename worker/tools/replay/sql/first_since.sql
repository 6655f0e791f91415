-- The first offset from $2 to below $3 of a lane whose command was appended at $4 or later. Read only. A row is written
-- after its command was appended, so days before that need not be read; one day more, for clocks that differ.
SELECT min("offset")
  FROM ledger
 WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3
   AND appended_at >= $4 AND recorded_on >= ($4::timestamptz AT TIME ZONE 'UTC')::date - 1
