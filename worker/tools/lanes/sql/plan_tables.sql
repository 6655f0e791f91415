-- What is to be restored, while it is looked at: seen by this session only, and gone with it.
CREATE TEMP TABLE planned_passport (
    partition integer, "offset" bigint, id text, company_id text, gtin text, serial text, digest bytea
);
CREATE TEMP TABLE planned_replay (partition integer, "offset" bigint, id text, digest bytea);
CREATE TEMP TABLE planned_company (partition integer, "offset" bigint, company_id text)
