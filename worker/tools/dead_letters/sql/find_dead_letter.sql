-- The whole dead letter of one command of a group. Read only, by the lane's primary key.
SELECT d.reason, d.key AS dead_key, d.value AS dead_value, d.header_names, d.header_values, l.appended_at,
       coalesce(
           l.company_id,
           (SELECT max(answered.company_id)
              FROM redrive r
              JOIN ledger answered ON answered.lane_id = lane.id AND answered."offset" = r.new_offset
             WHERE r.topic = lane.topic AND r.partition = lane.partition AND r."offset" = d."offset")
       ) AS company_id
  FROM lane
  JOIN dead_letter d ON d.lane_id = lane.id
  LEFT JOIN ledger l ON l.lane_id = d.lane_id AND l."offset" = d."offset" AND l.recorded_on = d.recorded_on
 WHERE lane.group_id = $1 AND lane.topic = $2 AND lane.partition = $3 AND d."offset" = $4
