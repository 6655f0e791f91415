-- The rows that a recovery plans to restore. Only this session sees these tables, and they end with it.
CREATE TEMP TABLE planned_passport (
    partition integer, "offset" bigint, id text, company_id text, gtin text, serial text, digest bytea
);
CREATE TEMP TABLE planned_replay (partition integer, "offset" bigint, id text, digest bytea);
CREATE TEMP TABLE planned_company (partition integer, "offset" bigint, company_id text)
