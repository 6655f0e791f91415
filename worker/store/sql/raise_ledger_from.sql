-- The ledger of a lane starts behind the newest row of the day that is about to go. Safe: under the lanes' locks, never
-- lowers anything, and commits with the drop, so that nobody takes the missing rows for a gap in the offsets.
UPDATE lane
   SET ledger_from = dropped.newest + 1
  FROM (SELECT id, (SELECT max(l."offset") FROM ledger l WHERE l.lane_id = lane.id AND l.recorded_on = $1) AS newest
          FROM lane) AS dropped
 WHERE dropped.id = lane.id AND lane.ledger_from <= dropped.newest
