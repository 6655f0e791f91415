-- The copy of a record that could not be processed. Runs in the transaction of its ledger row.
INSERT INTO dead_letter (lane_id, "offset", reason, key, value, header_names, header_values)
VALUES ($1, $2, $3, $4, $5, $6, $7)
