-- readable from: 0002
-- locks: nothing
-- takes: 0.0 s
--
-- How many commands of a company each worker answered on a UTC day of its clock, and how many of them it refused. It
-- shows who floods, and who is refused entirely. A worker overwrites its own rows every few seconds, outside of its
-- turns: at most 10,000 rows a worker and day. Housekeeping deletes rows past the retention.
CREATE TABLE company_day (
    day         date NOT NULL,
    company_id  text NOT NULL,
    group_id    text NOT NULL,
    member      text NOT NULL,
    answered    bigint NOT NULL CHECK (answered > 0),
    refused     bigint NOT NULL CHECK (refused BETWEEN 0 AND answered),
    accepted_at timestamptz,  -- when a command was last created or replayed
    PRIMARY KEY (day, company_id, group_id, member)
) WITH (fillfactor = 50);
