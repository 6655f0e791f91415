-- The rows that a recovery plans to restore. Only this session sees these tables, and they end with it. Lanes have the
-- numbers of the plan, since the topic of each channel has a partition 0.
CREATE TEMP TABLE planned_passport (
    lane_number integer, "offset" bigint, id text, company_id text, gtin text, serial text, digest bytea
);
CREATE TEMP TABLE planned_replay (lane_number integer, "offset" bigint, id text, digest bytea);
CREATE TEMP TABLE planned_company (lane_number integer, "offset" bigint, company_id text)
