-- What operators did to a system, and what a redrive has to remember so that it happens once.

-- One row a verb that changes something, begun before its first effect. `progress` is the verb's own.
CREATE TABLE operation (
    id        uuid PRIMARY KEY,
    verb      text NOT NULL,
    begun_at  timestamptz NOT NULL DEFAULT now(),
    ended_at  timestamptz,
    outcome   text CHECK (outcome IN ('done', 'failed', 'interrupted')),
    who       text NOT NULL,
    role      text NOT NULL DEFAULT current_user,
    reason    text NOT NULL,
    arguments jsonb NOT NULL,
    progress  jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT operation_ended_has_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

-- A command that was published again, for the `times`-th time. `log_end` is where its partition ended before: if
-- `new_offset` is null, whether it was published has to be looked up from there on.
CREATE TABLE redrive (
    topic        text NOT NULL,
    partition    integer NOT NULL,
    "offset"     bigint NOT NULL,
    times        integer NOT NULL CHECK (times > 0),
    operation_id uuid NOT NULL REFERENCES operation,
    log_end      bigint NOT NULL,
    new_offset   bigint,
    PRIMARY KEY (topic, partition, "offset", times)
);

-- The charges of a company in a month.
CREATE INDEX overage_charge_company_id_charged_at_idx ON overage_charge (company_id, charged_at);
