-- Reference data, passports, and the ledger that makes results repeatable.

-- Reference data: loaded with `passport-worker catalogue load`, never written by the worker.

CREATE TABLE plan (
    id                    text PRIMARY KEY,
    max_dpps              integer CHECK (max_dpps >= 0),
    overage_price_cents   integer CHECK (overage_price_cents >= 0),
    max_v1_writes_per_day integer CHECK (max_v1_writes_per_day >= 0)
);

CREATE TABLE company (
    id           text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    name         text NOT NULL,
    plan_id      text NOT NULL REFERENCES plan,
    subscription text,
    prefill      json NOT NULL DEFAULT '{}'
);

CREATE TABLE api_key (
    sha256     bytea PRIMARY KEY CHECK (length(sha256) = 32),
    company_id text NOT NULL REFERENCES company,
    label      text NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE template (
    id       text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    category text NOT NULL,
    version  integer NOT NULL,
    fields   json NOT NULL
);

CREATE TABLE product (
    id                   text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    company_id           text NOT NULL REFERENCES company,
    template_id          text NOT NULL REFERENCES template,
    name                 text NOT NULL,
    model                text NOT NULL,
    default_field_values json NOT NULL DEFAULT '{}'
);

-- Counters. One row a company, made with the company: locking it puts all commands of a company in one line, so
-- that quota, idempotency keys and serial numbers of a company are judged one batch at a time.
-- Low fillfactor: the row is updated for every batch, and stays in its page (HOT).

CREATE TABLE company_usage (
    company_id text PRIMARY KEY REFERENCES company,
    slots_used bigint NOT NULL DEFAULT 0 CHECK (slots_used >= 0)
) WITH (fillfactor = 50);

CREATE TABLE daily_writes (
    company_id  text NOT NULL,
    day         date NOT NULL,
    writes      bigint NOT NULL CHECK (writes > 0),
    recorded_on date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    PRIMARY KEY (company_id, day)
) WITH (fillfactor = 50);

-- A GTIN belongs to the first company that created a passport with it, for good.

CREATE TABLE gtin_registration (
    gtin       text CONSTRAINT gtin_registration_gtin_key PRIMARY KEY CHECK (gtin ~ '^[0-9]{14}$'),
    company_id text NOT NULL
);

-- `created_body` is the value of the created event, byte for byte; ledger rows of created and replayed answers
-- point here instead of holding it again.

CREATE TABLE passport (
    id           text CONSTRAINT passport_id_key PRIMARY KEY,
    company_id   text NOT NULL,
    product_id   text NOT NULL,
    template_id  text NOT NULL,
    gtin         text NOT NULL,
    serial       text NOT NULL CHECK (length(serial) BETWEEN 1 AND 100),
    created_at   timestamptz NOT NULL,
    created_body bytea NOT NULL,
    CONSTRAINT passport_gtin_serial_key UNIQUE (gtin, serial)
);

CREATE TABLE overage_charge (
    passport_id text PRIMARY KEY,
    company_id  text NOT NULL,
    price_cents integer NOT NULL CHECK (price_cents >= 0),
    charged_at  timestamptz NOT NULL
);

-- Bound for 24 hours from `created_at`, in the records' time. Kept by `day`, which is that of the database's clock, so
-- that a backlog and a back-fill of old records are judged like fresh records, or the day of `created_at` where that is
-- later: who looks for the keys of the last 24 hours then finds them in few partitions. `id` is the first 16 bytes of
-- SHA-256 over company and key: keys are random, so their index is used all over, and that of a day fits into memory.
-- A key that is bound again after 24 hours has a row in each of both days; the later counts.

CREATE TABLE idempotency_key (
    id          bytea NOT NULL CHECK (length(id) = 16),
    day         date NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    passport_id text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);

-- Lanes: one row per consumer group and input partition. `applied` is the input position (A of the protocol), moved
-- in the transaction of the effects. `emitted` is a lower bound of the emission position (E), for the day that Kafka
-- forgets the group's offset. From `ledger_from` on the ledger is complete.

CREATE TABLE lane (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id    text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    epoch       bigint NOT NULL DEFAULT 0,
    generation  bigint NOT NULL DEFAULT -1,
    member      text NOT NULL DEFAULT '',
    applied     bigint CHECK (applied >= 0),
    emitted     bigint CHECK (emitted <= applied),
    ledger_from bigint CHECK (ledger_from <= applied),
    CONSTRAINT lane_group_topic_partition_key UNIQUE (group_id, topic, partition)
) WITH (fillfactor = 50);

-- The ledger: one row a command record. Partitioned by the day on which the row was written, so that old days can be
-- dropped whole. `value` is null where it stands in passport.created_body.

CREATE TABLE ledger (
    lane_id     integer NOT NULL,
    "offset"    bigint NOT NULL,
    recorded_on date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    appended_at timestamptz NOT NULL,
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 4),
    replayed    boolean NOT NULL,
    key         text NOT NULL,
    company_id  text,
    passport_id text,
    traceparent bytea,
    tracestate  bytea,
    value       bytea,
    CONSTRAINT ledger_lane_offset_key PRIMARY KEY (lane_id, "offset", recorded_on),
    CONSTRAINT ledger_value_stands_somewhere CHECK ((value IS NULL) = (passport_id IS NOT NULL))
) PARTITION BY RANGE (recorded_on);

-- Copies of records that could not be processed, for as long as their ledger rows.

CREATE TABLE dead_letter (
    lane_id       integer NOT NULL,
    "offset"      bigint NOT NULL,
    recorded_on   date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    reason        text NOT NULL,
    key           bytea,
    value         bytea,
    header_names  bytea[] NOT NULL,
    header_values bytea[] NOT NULL,
    PRIMARY KEY (lane_id, "offset", recorded_on)
) PARTITION BY RANGE (recorded_on);
