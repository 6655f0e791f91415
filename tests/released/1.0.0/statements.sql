---- worker.store answers
-- Answers as they were recorded, in input order, with their dead letters: at most $4 of them and about $5 bytes of
-- memory, but at least one. The lengths are read without the values. A created event comes as its passport's own values
-- and its frame. Read only.
SELECT "offset", appended_ms, kind, replayed, key, company_id, encode(passport_id, 'hex') AS passport_id,
       traceparent, tracestate, value, reason, dead_key, dead_value, header_names, header_values, frame_id, gtin, serial, created_ms, gs1, rest
  FROM (SELECT *, sum(bytes_of_value + coalesce(octet_length(dead_value), 0) + coalesce(octet_length(dead_key), 0)
                      + (SELECT coalesce(sum(100 + octet_length(h.name) + coalesce(octet_length(h.value), 0)), 0)
                           FROM unnest(header_names, header_values) AS h (name, value)))
                      OVER (ORDER BY "offset") AS bytes,
               row_number() OVER (ORDER BY "offset") AS place
          FROM (SELECT l."offset", round(extract(epoch FROM l.appended_at) * 1000)::bigint AS appended_ms, l.kind,
                       l.replayed, l.key, l.company_id, l.passport_id, l.traceparent, l.tracestate,
                       l.value, coalesce(octet_length(l.value), octet_length(f.text) + 300
                                                         + coalesce(octet_length(p.gs1), 0) + coalesce(octet_length(p.rest), 0))
                           AS bytes_of_value,
                       d.reason, d.key AS dead_key, d.value AS dead_value, d.header_names, d.header_values,
                       p.frame_id, p.gtin, p.serial, round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms,
                       p.gs1, p.rest
                  FROM ledger l
                  LEFT JOIN passport p ON p.id = l.passport_id
                  LEFT JOIN passport_frame f ON f.id = p.frame_id
                  LEFT JOIN dead_letter d
                    ON d.lane_id = l.lane_id AND d."offset" = l."offset" AND d.recorded_on = l.recorded_on
                 WHERE l.lane_id = $1 AND l."offset" >= $2 AND l."offset" < $3
                 ORDER BY l."offset"
                 LIMIT $4) AS found) AS measured
 WHERE bytes <= $5 OR place = 1
 ORDER BY "offset"
---- worker.store api_keys
-- API keys by hash, with their companies and plans. Times are rounded up: a record is before the revocation in any
-- fraction of its millisecond. Read only; a change holds for all later records.
SELECT k.sha256, ceil(extract(epoch FROM k.revoked_at) * 1000)::bigint AS revoked_ms, c.id, c.subscription,
       ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM api_key k
  JOIN company c ON c.id = k.company_id
  JOIN plan p ON p.id = c.plan_id
 WHERE k.sha256 = ANY ($1::bytea[])
---- worker.store applied_migrations
-- The migrations that the database has. Read only.
SELECT version, name, sha256, readable_from, applied_by FROM schema_migration ORDER BY version
---- worker.store bindings
-- Bound idempotency keys with the created events that they replay. A key can have two rows; the later one comes last.
-- Days before $2 (since the epoch) are skipped. Yesterday never is: clocks that are days ahead put their keys there, or
-- into tomorrow. The events are left out where all of them together have more than $3 bytes; their lengths are read
-- without them. Read only, under the companies' locks.
SELECT k.id, k.fingerprint, encode(k.passport_id, 'hex') AS passport_id,
       round(extract(epoch FROM k.created_at) * 1000)::bigint AS created_ms,
       CASE WHEN sum(coalesce(octet_length(f.text), 0) + 300 + coalesce(octet_length(p.gs1), 0)
                     + coalesce(octet_length(p.rest), 0)) OVER () <= $3::bigint THEN p.frame_id END AS frame_id,
       p.gtin, p.serial, p.gs1, p.rest
  FROM idempotency_key k
  JOIN passport p ON p.id = k.passport_id AND p.company_number = k.company_number
  LEFT JOIN passport_frame f ON f.id = p.frame_id
 WHERE k.id = ANY (ARRAY(SELECT substr($1::bytea, at, 16) FROM generate_series(1, length($1::bytea), 16) AS at))
   AND k.day >= least(date '1970-01-01' + $2::int, (now() AT TIME ZONE 'UTC')::date - 1)
 ORDER BY k.created_at
---- worker.store claim_gtins
-- Third lock of a batch: GTINs without an owner, sorted. The transaction has to settle each returned row before its
-- commit. Where another batch was first, this one has waited for its end, and reads its registration next.
INSERT INTO gtin_registration (gtin, company_id)
SELECT gtin, company_id
  FROM unnest($1::text[], $2::text[]) AS wanted (gtin, company_id)
 ORDER BY gtin
    ON CONFLICT ON CONSTRAINT gtin_registration_gtin_key DO NOTHING
RETURNING gtin
---- worker.store clock
-- The server's clock, in Unix seconds. Touches no table.
SELECT extract(epoch FROM clock_timestamp())::float8
---- worker.store companies
-- Companies with their plans, as in `api_keys`. Read only.
SELECT c.id, c.subscription, ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM company c
  JOIN plan p ON p.id = c.plan_id
 WHERE c.id = ANY ($1::text[])
---- worker.store create_day
-- Makes one daily partition with the rights of the tables' owner. Keys come before the ledger before dead letters, the
-- order in which all transactions lock them. Safe: runs under the lock on days, and stops no batch of a running worker.
SELECT make_day($1, $2)
---- worker.store day_is_needed
-- Whether a day holds answers that Kafka may lack. Such a day stays, but not longer than twice the retention: a group
-- that was given up never emits its last answers. Both the database's clock and a worker's clock, whose day is $3, have
-- to agree. Read only, under the lanes' locks.
SELECT $1::date >= least((now() AT TIME ZONE 'UTC')::date, $3::date) - 2 * $2::int
   AND EXISTS (
           SELECT FROM lane
            WHERE emitted <= (SELECT max(l."offset") FROM ledger l WHERE l.lane_id = lane.id AND l.recorded_on = $1)
       )
---- worker.store dead_letters
-- The copy of a record that could not be processed. Runs in the transaction of its ledger row.
INSERT INTO dead_letter (lane_id, "offset", reason, key, value, header_names, header_values)
VALUES ($1, $2, $3, $4, $5, $6, $7)
---- worker.store delete_activity
-- Deletes at most $2 rows of minutes that ended more than $1 days ago.
DELETE FROM activity
 WHERE (minute, group_id, member) IN (
       SELECT minute, group_id, member FROM activity WHERE minute < now() - $1::int * interval '1 day' LIMIT $2
       )
---- worker.store delete_company_days
-- Deletes at most $2 counts of days that ended more than $1 days ago, by the database's clock and by a worker's clock,
-- whose day is $3.
DELETE FROM company_day
 WHERE ctid = ANY (ARRAY(SELECT ctid
                           FROM company_day
                          WHERE day < least((now() AT TIME ZONE 'UTC')::date, $3::date) - $1::int
                          LIMIT $2))
---- worker.store delete_daily_writes
-- Deletes at most $2 daily counts that were last raised more than $1 days ago, by the database's clock and by a
-- worker's clock, whose day is $3. Safe: skips a count that a batch raises at this moment, and waits for no lock.
DELETE FROM daily_writes
 WHERE ctid = ANY (ARRAY(SELECT ctid
                           FROM daily_writes
                          WHERE recorded_on < least((now() AT TIME ZONE 'UTC')::date, $3::date) - $1::int
                          LIMIT $2
                            FOR UPDATE SKIP LOCKED))
---- worker.store drop_day
-- Drops the rows of one day with the rights of the tables' owner, and returns the names of the partitions. Keys come
-- before the ledger before dead letters, the order in which all transactions lock them. Safe: runs under the lanes'
-- locks, and raises their `ledger_from`.
SELECT name FROM drop_day($1) AS name ORDER BY name
---- worker.store frames
-- Texts of frames by their ids. Read only; a frame never changes.
SELECT id, text FROM passport_frame WHERE id = ANY ($1::bytea[])
---- worker.store grants
-- The rights that a role needs for `run`, one a line with its purpose. `migrate --grant-to` runs this file, and `run`
-- checks each line before it starts. Safe to repeat: it adds missing rights and takes none away.
GRANT USAGE ON SCHEMA {schema} TO {role}; -- to see the tables at all
GRANT SELECT ON TABLE schema_migration TO {role}; -- is the database at this version?

-- Reference data: `run` never writes it.
GRANT SELECT ON TABLE plan TO {role}; -- limits and prices
GRANT SELECT ON TABLE company TO {role}; -- plan, subscription and prefill
GRANT SELECT ON TABLE api_key TO {role}; -- the company of a command
GRANT SELECT ON TABLE signing_key TO {role}; -- the company of a signed command
GRANT SELECT ON TABLE product TO {role}; -- products with their companies and values
GRANT SELECT ON TABLE template TO {role}; -- the fields of a passport

-- Counters, keys and registrations.
GRANT SELECT ON TABLE company_usage TO {role}; -- used slots
GRANT UPDATE (slots_used) ON TABLE company_usage TO {role}; -- take slots, and lock the company for a batch
GRANT SELECT ON TABLE daily_writes TO {role}; -- check the day's budget
GRANT INSERT ON TABLE daily_writes TO {role}; -- a company's first write of a day
GRANT UPDATE (writes, recorded_on) ON TABLE daily_writes TO {role}; -- its later ones
GRANT DELETE ON TABLE daily_writes TO {role}; -- housekeeping: counts past the retention
GRANT SELECT ON TABLE gtin_registration TO {role}; -- the owner of a GTIN
GRANT INSERT ON TABLE gtin_registration TO {role}; -- claim one for a batch
GRANT UPDATE (company_id) ON TABLE gtin_registration TO {role}; -- settle a claim of the same batch
GRANT DELETE ON TABLE gtin_registration TO {role}; -- take back a claim of the same batch
GRANT SELECT ON TABLE idempotency_key TO {role}; -- check whether a key is bound
GRANT INSERT ON TABLE idempotency_key TO {role}; -- bind a key
GRANT UPDATE (fingerprint, passport_id, created_at) ON TABLE idempotency_key TO {role}; -- bind a key again, 24 hours later

-- Passports: never changed.
GRANT SELECT ON TABLE passport TO {role}; -- used serial numbers, and events to replay
GRANT INSERT ON TABLE passport TO {role}; -- create a passport
GRANT SELECT ON TABLE passport_frame TO {role}; -- the texts that passports share
GRANT INSERT ON TABLE passport_frame TO {role}; -- write a text when it is first used
GRANT INSERT ON TABLE overage_charge TO {role}; -- charge for a passport
GRANT SELECT ON TABLE overage_charge TO {role}; -- for `quota` and `lanes recover`; the worker reads no charge

-- Lanes and the ledger. Functions drop keys, ledger and dead letters with their day.
GRANT SELECT ON TABLE lane TO {role}; -- the positions
GRANT INSERT ON TABLE lane TO {role}; -- a partition's first lane
GRANT UPDATE (epoch, generation_id, member_id, producers, applied, emitted, ledger_from, cluster_id, topic_id) ON TABLE lane TO {role}; -- fence, move, lock
GRANT SELECT ON TABLE ledger TO {role}; -- emit answers again
GRANT INSERT ON TABLE ledger TO {role}; -- one row a record
GRANT SELECT ON TABLE dead_letter TO {role}; -- emit dead letters again
GRANT INSERT ON TABLE dead_letter TO {role}; -- copies of records that could not be processed
GRANT EXECUTE ON FUNCTION make_day(text, date) TO {role}; -- partitions of the coming days
GRANT EXECUTE ON FUNCTION drop_day(date) TO {role}; -- housekeeping: a day past the retention

-- Access tokens.
GRANT SELECT ON TABLE oauth_key_set TO {role}; -- start while the authorization server is away
GRANT INSERT ON TABLE oauth_key_set TO {role}; -- keep the public keys
GRANT UPDATE (keys, read_at) ON TABLE oauth_key_set TO {role}; -- keep newer public keys

-- Counts for operators, the console and alerts.
GRANT SELECT ON TABLE activity TO {role}; -- find the written minutes
GRANT INSERT ON TABLE activity TO {role}; -- write a minute
GRANT UPDATE (counts) ON TABLE activity TO {role}; -- write a minute again
GRANT DELETE ON TABLE activity TO {role}; -- housekeeping: old minutes
GRANT SELECT ON TABLE company_day TO {role}; -- find the written counts, and companies that are refused entirely
GRANT INSERT ON TABLE company_day TO {role}; -- a company's first commands of a day
GRANT UPDATE (answered, refused, accepted_at) ON TABLE company_day TO {role}; -- its later ones
GRANT DELETE ON TABLE company_day TO {role}; -- housekeeping: counts past the retention

-- For operators who use this role: recover, redrive.
GRANT SELECT ON TABLE operation TO {role}; -- check whether an operation has ended
GRANT INSERT ON TABLE operation TO {role}; -- begin an operation, and note that offsets were set back
GRANT UPDATE ON TABLE operation TO {role}; -- end an operation
GRANT SELECT ON TABLE redrive TO {role}; -- check whether a command was published again
GRANT INSERT ON TABLE redrive TO {role}; -- before a command is published again
GRANT UPDATE (new_offset, operation_id) ON TABLE redrive TO {role}; -- its new offset
---- worker.store gtin_owners
-- The companies of registered GTINs. Read only; a committed registration never changes.
SELECT gtin, company_id FROM gtin_registration WHERE gtin = ANY ($1::text[])
---- worker.store has_schema_migration
-- Whether the database was ever migrated. Read only.
SELECT to_regclass('schema_migration') IS NOT NULL
---- worker.store incarnation
-- Identifies the database, and the end of its log. Another system, timeline, database or table of lanes, or a log that
-- ends earlier, means that another database answers, where commits may be missing. A copy under the same name has other
-- oids. Before the first migration the table `lane` has no oid. Read only.
SELECT (SELECT system_identifier FROM pg_control_system())::text
       || CASE WHEN pg_is_in_recovery() THEN '' ELSE '/' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS name,
       (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || to_regclass('lane')::oid AS oids,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn END::bigint AS log_end
---- worker.store keep_key_set
-- Replaces the key set of an issuer and an address.
INSERT INTO oauth_key_set (issuer, location, keys, read_at) VALUES ($1, $2, $3, now())
ON CONFLICT ON CONSTRAINT oauth_key_set_pkey DO UPDATE SET keys = excluded.keys, read_at = excluded.read_at
---- worker.store kept_key_set
-- The key set of an issuer and an address. Read only.
SELECT keys::text FROM oauth_key_set WHERE issuer = $1 AND location = $2
---- worker.store lanes
-- Every lane of a group on some topics. Read only.
SELECT id, topic, partition, epoch, applied, emitted, ledger_from, cluster_id, topic_id, generation_id, member_id, producers
  FROM lane
 WHERE group_id = $1 AND topic = ANY ($2::text[])
 ORDER BY topic, partition
---- worker.store ledger_end
-- The beginning of the first day, from today on, for which keys, the ledger or dead letters have no partition, in Unix
-- seconds. Looks a month ahead, by the database's clock. Read only.
SELECT extract(epoch FROM min(day) AT TIME ZONE 'UTC')::float8
  FROM (SELECT ahead, (now() AT TIME ZONE 'UTC')::date::timestamp + ahead * interval '1 day' AS day
          FROM generate_series(0, 31) AS ahead) AS days,
       unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) AS parent
 WHERE ahead = 31
    OR NOT EXISTS (SELECT
                     FROM pg_inherits i
                     JOIN pg_class child ON child.oid = i.inhrelid
                    WHERE i.inhparent = parent::regclass AND child.relname = parent || to_char(day, '"_"YYYYMMDD'))
---- worker.store list_only
-- Lists one producer ($4) for lanes, after the transactions of all others have ended. Safe: changes nothing where the
-- epoch is not ours, so a worker that registered meanwhile keeps the list that it saw.
UPDATE lane
   SET producers = ARRAY[$4]
  FROM unnest($1::int[], $2::bigint[], $3::text[]) AS ours (id, epoch, holder)
 WHERE lane.id = ours.id AND lane.epoch = ours.epoch AND lane.holder = ours.holder
RETURNING lane.id
---- worker.store lock_all_lanes
-- Locks every lane in the order of ids, as batches do, so that no circle of waiting arises. Nobody writes to the ledger
-- from here to the commit.
SELECT id FROM lane ORDER BY id FOR UPDATE
---- worker.store lock_companies
-- Second lock of a batch: the companies' usage, sorted, so that two batches with the same companies cannot deadlock.
-- `catalogue load` makes the row with the company. The facts are read by later statements, whose snapshots see all that
-- was committed before the lock.
SELECT c.id, c.number, u.slots_used
  FROM company c
  JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = ANY ($1::text[])
 ORDER BY u.company_number
   FOR UPDATE OF u
---- worker.store lock_days
-- Lets one process at a time make partitions. Ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker days', 0))
---- worker.store lock_lanes
-- First lock of a batch: its lanes in the order of ids. The batch sees here whether another worker has raised an epoch.
-- From here on other workers have to wait for the commit.
SELECT id, epoch, holder, applied
  FROM lane
 WHERE id = ANY ($1::int[])
 ORDER BY id
   FOR UPDATE
---- worker.store lock_partitions
-- Locks the lanes of partitions ($2, $3) in the order of ids, as batches do, and returns their owners.
SELECT topic, partition, generation_id, member_id
  FROM lane
 WHERE group_id = $1 AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))
 ORDER BY id
   FOR UPDATE
---- worker.store mark_emitted
-- Raises lower bounds of the emission positions. Safe: never lowers one, and never passes the applied position. Locks
-- the rows first, in the order of batches.
WITH locked AS (
    SELECT id FROM lane WHERE id = ANY ($1::int[]) ORDER BY id FOR UPDATE
)
UPDATE lane l
   SET emitted = out.emitted
  FROM locked
  JOIN unnest($1::int[], $2::bigint[], $3::text[], $4::bigint[]) AS out (id, epoch, holder, emitted) USING (id)
 WHERE l.id = out.id AND l.epoch = out.epoch AND l.holder = out.holder AND l.emitted < out.emitted AND l.applied >= out.emitted
---- worker.store missing_days
-- Daily partitions that do not exist yet, from yesterday on: a batch that began before midnight may still come. Read
-- only. The database's clock decides, since it dates the rows. The query reads the catalogue and does not use
-- to_regclass, whose cache may miss partitions that were made during the wait for the lock on days.
SELECT parent, day
  FROM (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(-1, $1::int) AS ahead) AS days,
       unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) WITH ORDINALITY AS parents (parent, place)
 WHERE NOT EXISTS (SELECT
                     FROM pg_inherits i
                     JOIN pg_class child ON child.oid = i.inhrelid
                    WHERE i.inhparent = parent::regclass AND child.relname = parent || to_char(day, '"_"YYYYMMDD'))
 ORDER BY day, place
---- worker.store missing_rights
-- The wanted rights that a role ($5; null: the session's own) lacks. An object that does not exist counts as no missing
-- right: another check compares the schema. Read only.
SELECT asked.role, wanted.place::int AS place
  FROM (SELECT coalesce($5, current_user) AS role) AS asked,
       unnest($1::text[], $2::text[], $3::text[], $4::text[])
       WITH ORDINALITY
    AS wanted (privilege, columns, kind, object, place)
 WHERE CASE
           WHEN kind = 'SCHEMA' THEN EXISTS (
               SELECT FROM pg_class
                WHERE relname = 'schema_migration'
                  AND oid = coalesce(to_regclass('schema_migration'), oid)
                  AND NOT has_schema_privilege(role, relnamespace, privilege)
           )
           WHEN kind = 'FUNCTION' THEN NOT has_function_privilege(role, to_regprocedure(object)::oid, privilege)
           WHEN columns IS NULL THEN NOT has_table_privilege(role, to_regclass(object)::oid, privilege)
           ELSE EXISTS (
               SELECT FROM pg_attribute
                WHERE attrelid = to_regclass(object)
                  AND attname = ANY (string_to_array(columns, ', '))
                  AND NOT has_column_privilege(role, attrelid, attnum, privilege)
           )
       END
 ORDER BY place
---- worker.store newest_backup
-- The time of the newest backup that `backup-taken` noted, in Unix seconds. Read only; reads a row an operation.
SELECT extract(epoch FROM max((arguments ->> 'takenAt')::timestamptz))::float8
  FROM operation
 WHERE verb = 'backup-taken' AND outcome = 'done'
---- worker.store note_set_back
-- Notes that the group's offset of a lane was set back, so that results come again. `audit` reads it. Safe: a row of
-- its own.
INSERT INTO operation (id, verb, ended_at, outcome, who, reason, arguments)
VALUES (gen_random_uuid(), 'offsets-set-back', now(), 'done', $4, 'the group''s offset was set back',
        jsonb_build_object('topic', $1::text, 'repeats', jsonb_build_array(jsonb_build_array($2::int, $3::bigint, $5::bigint))))
---- worker.store old_days
-- Days with a partition that ended at least $1 days ago, by the database's clock and by a worker's clock, whose day is
-- $2, oldest first. Read only.
SELECT DISTINCT to_date(right(child.relname, 8), 'YYYYMMDD') AS day
  FROM pg_inherits i
  JOIN pg_class child ON child.oid = i.inhrelid
 WHERE i.inhparent IN ('idempotency_key'::regclass, 'ledger'::regclass, 'dead_letter'::regclass)
   AND right(child.relname, 8) < to_char(least((now() AT TIME ZONE 'UTC')::date, $2::date) - $1::int, 'YYYYMMDD')
 ORDER BY day
---- worker.store other_groups
-- Groups under which lanes of a topic ($2) have answered commands, if none has run under group $1. Read only.
SELECT DISTINCT group_id
  FROM lane
 WHERE topic = $2 AND applied > 0
   AND NOT EXISTS (SELECT FROM lane AS ours WHERE ours.group_id = $1 AND ours.topic = $2 AND ours.applied IS NOT NULL)
 ORDER BY group_id
---- worker.store patience_for_days
-- Shortens the wait for locks in this transaction: while it waits to drop a day, all lanes wait behind it.
SET LOCAL lock_timeout = '3s';
SET LOCAL statement_timeout = '10s'
---- worker.store positions
-- The positions of lanes with their topics, and the epochs and holders that show whether a token is still good. Read
-- only.
SELECT id, epoch, holder, applied, emitted, ledger_from, cluster_id, topic_id FROM lane WHERE id = ANY ($1::int[])
---- worker.store products
-- The JSON texts that seed the fields of passports: the named products ($1) of these companies ($2), then, without a
-- product id, each of their templates and companies once. One statement, so that a product and its template fit each
-- other. The texts are left out where all of them together have more than $3 bytes. Read only.
WITH found AS MATERIALIZED (
    SELECT id, company_id, template_id, default_field_values::text AS text
      FROM product
     WHERE id = ANY ($1::text[])
       AND (company_id IN (SELECT unnest($2::text[]))) IS TRUE  -- hashed; `= ANY` goes through all of them for each row
), seeds AS (
    SELECT * FROM found
     UNION ALL
    SELECT NULL, NULL, t.id, t.fields::text
      FROM (SELECT DISTINCT template_id FROM found) AS used
      JOIN template t ON t.id = used.template_id
     UNION ALL
    SELECT NULL, c.id, NULL, c.prefill::text
      FROM (SELECT DISTINCT company_id FROM found) AS owners
      JOIN company c ON c.id = owners.company_id
)
SELECT id, company_id, template_id, CASE WHEN sum(octet_length(text)) OVER () <= $3::bigint THEN text END AS text FROM seeds
---- worker.store read_grants
-- The rights that a role needs to read everything and change nothing, one a line with its purpose.
-- `migrate --grant-read-to` runs this file. Safe to repeat: it adds missing rights and takes none away.
GRANT USAGE ON SCHEMA {schema} TO {role}; -- to see the tables at all
GRANT SELECT ON TABLE schema_migration TO {role}; -- is the database at this version?

-- Reference data. Not the hashes of API keys: with a hash, an attacker only has to find the key.
GRANT SELECT ON TABLE plan TO {role}; -- limits and prices
GRANT SELECT ON TABLE company TO {role}; -- plan, subscription and prefill
GRANT SELECT (company_id, label, revoked_at) ON TABLE api_key TO {role}; -- the company of a key, and its revocation
GRANT SELECT ON TABLE signing_key TO {role}; -- public keys of companies, and their validity
GRANT SELECT ON TABLE oauth_key_set TO {role}; -- public keys of access tokens
GRANT SELECT ON TABLE product TO {role}; -- products with their companies and values
GRANT SELECT ON TABLE template TO {role}; -- the fields of a passport

-- Counters, keys, registrations and passports.
GRANT SELECT ON TABLE company_usage TO {role}; -- used slots
GRANT SELECT ON TABLE daily_writes TO {role}; -- the used part of a day's budget
GRANT SELECT ON TABLE gtin_registration TO {role}; -- the owner of a GTIN
GRANT SELECT ON TABLE idempotency_key TO {role}; -- the passport of a key
GRANT SELECT ON TABLE passport TO {role}; -- the passports
GRANT SELECT ON TABLE passport_frame TO {role}; -- the texts that passports share
GRANT SELECT ON TABLE overage_charge TO {role}; -- the charges

-- Lanes and the ledger, which give access to their days.
GRANT SELECT ON TABLE lane TO {role}; -- the positions
GRANT SELECT ON TABLE ledger TO {role}; -- the answers
GRANT SELECT ON TABLE dead_letter TO {role}; -- records that could not be processed

-- The actions of workers and operators.
GRANT SELECT ON TABLE activity TO {role}; -- the counts of each minute
GRANT SELECT ON TABLE company_day TO {role}; -- the counts of each company and day
GRANT SELECT ON TABLE operation TO {role}; -- operations, with who, when and why
GRANT SELECT ON TABLE redrive TO {role}; -- commands that were published again
---- worker.store record
-- All effects of a batch at once: passports and what follows from them, ledger rows, and the lanes' new positions.
-- Safe: runs under the locks that the facts were read under; a constraint that fires all the same rolls all back.
-- Texts come joined by U+001F, ids and hashes one behind the other: `worker/store/columns.py` says why.
WITH made AS (
    SELECT *, timestamptz 'epoch' + (created_ms / 1000) * interval '1 second'
              + (created_ms % 1000) * interval '1 millisecond' AS created_at,  -- in one, far years are not exact
           substr($1::bytea, 12 * at::int - 11, 12) AS id, substr($6::bytea, 16 * at::int - 15, 16) AS frame_id,
           nullif(substr($9::bytea, 16 * at::int - 15, 16), decode(repeat('00', 16), 'hex')) AS key_id,
           substr($10::bytea, 32 * at::int - 31, 32) AS fingerprint
      FROM unnest($2::int[], string_to_array($3, E'\x1f'), string_to_array($4, E'\x1f'), $5::bigint[],
                  string_to_array($7, E'\x1f', ''), string_to_array($8, E'\x1f', ''), $11::int[])
           WITH ORDINALITY
        AS made (company_number, gtin, serial, created_ms, gs1, rest, price_cents, at)
), frames AS (
    -- Those that this session has not met: another one may write the same, and never another text under that id.
    INSERT INTO passport_frame (id, product_id, template_id, text)
    SELECT * FROM unnest($26::bytea[], $27::text[], $28::text[], $29::text[])
        ON CONFLICT DO NOTHING
), passports AS (
    INSERT INTO passport (created_at, id, company_number, gtin, serial, frame_id, gs1, rest)
    SELECT created_at, id, company_number, gtin, serial, frame_id, gs1, rest FROM made
), charges AS (
    INSERT INTO overage_charge (passport_id, company_number, price_cents, charged_at)
    SELECT id, company_number, price_cents, created_at FROM made WHERE price_cents IS NOT NULL
), keys AS (
    -- A backlog of more than 24 hours can bind a key twice in one batch, or in one day, and lanes are not equally far:
    -- the later one stays. A clock that is days ahead finds no partition of its day; tomorrow's is there.
    INSERT INTO idempotency_key (id, day, fingerprint, passport_id, created_at, company_number)
    SELECT DISTINCT ON (key_id)
           key_id, least(greatest((created_at AT TIME ZONE 'UTC')::date, today), today + 1), fingerprint, id, created_at,
           company_number
      FROM made, (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
     WHERE key_id IS NOT NULL
     ORDER BY key_id, at DESC
        ON CONFLICT (id, day, company_number) DO UPDATE
       SET fingerprint = excluded.fingerprint, passport_id = excluded.passport_id, created_at = excluded.created_at
     WHERE idempotency_key.created_at <= excluded.created_at
), slots AS (
    UPDATE company_usage u
       SET slots_used = u.slots_used + taken.passports
      FROM (SELECT company_number, count(*) AS passports FROM made GROUP BY company_number) AS taken
     WHERE u.company_number = taken.company_number
), days AS (
    INSERT INTO daily_writes AS w (company_number, day, writes)
    SELECT company_number, (created_at AT TIME ZONE 'UTC')::date, count(*) FROM made GROUP BY 1, 2
        ON CONFLICT (company_number, day) DO UPDATE
       SET writes = w.writes + excluded.writes, recorded_on = excluded.recorded_on
), rows AS (
    INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, company_id, passport_id,
                        traceparent, tracestate, value)
    SELECT a.lane_id, a."offset",
           timestamptz 'epoch' + (a.appended_ms / 1000) * interval '1 second'
           + (a.appended_ms % 1000) * interval '1 millisecond', a.kind,
           coalesce(a.replayed, false), a.key,
           a.company_id, decode(a.passport_id, 'hex'), a.traceparent, a.tracestate, a.value
      FROM unnest($12::int[], $13::bigint[], $14::bigint[], $15::smallint[], $16::boolean[],
                  string_to_array($17, E'\x1f'), string_to_array($18, E'\x1f', ''), string_to_array($19, E'\x1f', ''),
                  $20::bytea[], $21::bytea[], $22::bytea[])
        AS a (lane_id, "offset", appended_ms, kind, replayed, key, company_id, passport_id, traceparent, tracestate,
              value)
)
UPDATE lane l
   SET applied = moved.applied, emitted = greatest(l.emitted, moved.emitted)
  FROM unnest($23::int[], $24::bigint[], $25::bigint[]) AS moved (id, applied, emitted)
 WHERE l.id = moved.id AND l.applied <= moved.applied  -- the caller compares how many rows moved
---- worker.store refused_companies
-- The companies that a group ($1) refused in the last hour, most refused first, at most $2: their refused commands, those
-- that the group answered to all companies, and whether none of the company's was accepted. Read only, by primary keys;
-- the last hour has at most 60 rows a worker.
WITH hour AS MATERIALIZED (
    SELECT counts FROM activity WHERE group_id = $1 AND minute > now() - interval '1 hour'
), refused AS (
    SELECT said ->> 0 AS company_id, sum((said ->> 2)::bigint)::bigint AS refused
      FROM hour
     CROSS JOIN LATERAL jsonb_array_elements(counts -> 'refusals') AS said
     WHERE said ->> 0 IS NOT NULL
     GROUP BY 1
     ORDER BY 2 DESC, 1
     LIMIT $2
)
SELECT r.company_id, r.refused,
       (SELECT sum(said.value::bigint)::bigint
          FROM hour
         CROSS JOIN LATERAL jsonb_each_text(counts -> 'outcomes') AS said) AS answered,
       NOT EXISTS (SELECT FROM company_day d
                    WHERE d.day = ANY (days.near) AND d.company_id = r.company_id AND d.group_id = $1
                      AND d.accepted_at > now() - interval '1 hour') AS is_entirely
  FROM refused r,
       (SELECT array_agg((now() AT TIME ZONE 'UTC')::date + ahead) AS near FROM generate_series(-1, 1) AS ahead) AS days
 ORDER BY r.refused DESC, r.company_id
---- worker.store register
-- Raises the epochs of lanes for a member of the group, and adds its producer to those that may have a transaction open
-- in Kafka. A lane that a member of a newer generation holds stays as it is, unless $6 overrides. Safe: the rows are
-- locked already, in the order of batches. A worker with a lower epoch notices when it locks its lanes.
INSERT INTO lane (group_id, topic, partition, epoch, generation_id, member_id, producers)
SELECT $1, topic, partition, 1, $4, $5, ARRAY[$7]
  FROM unnest($2::text[], $3::int[]) AS asked (topic, partition)
 ORDER BY topic, partition
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO UPDATE
   SET epoch = lane.epoch + 1, generation_id = excluded.generation_id, member_id = excluded.member_id,
       producers = array_remove(lane.producers, $7) || excluded.producers
 WHERE lane.generation_id <= excluded.generation_id OR $6
RETURNING topic, partition, id, epoch, producers
---- worker.store release_gtins
-- Takes back a company's claims without a passport: only a created passport registers a GTIN. Safe: the rows are this
-- transaction's own.
DELETE FROM gtin_registration r
 USING unnest($1::text[], $2::text[]) AS claimed (gtin, company_id)
 WHERE r.gtin = claimed.gtin AND r.company_id = claimed.company_id
---- worker.store serials
-- Passports that have a GTIN and serial number of a company. Read only, under the company's lock.
SELECT p.gtin, p.serial, encode(p.id, 'hex') AS id
  FROM unnest($1::int[], string_to_array($2, E'\x1f'), string_to_array($3, E'\x1f')) AS asked (company_number, gtin, serial)
  JOIN passport p ON p.company_number = asked.company_number AND p.gtin = asked.gtin AND p.serial = asked.serial
---- worker.store settle_gtins
-- Gives GTINs that one company claimed ($2) to the companies that created the first passport ($3). Safe: the rows are this
-- transaction's own, and others do not see them.
UPDATE gtin_registration r
   SET company_id = owned.company_id
  FROM unnest($1::text[], $2::text[], $3::text[]) AS owned (gtin, claimed_by, company_id)
 WHERE r.gtin = owned.gtin AND r.company_id = owned.claimed_by
---- worker.store signing_keys
-- Public keys of signed commands by id, with their companies and plans as in `api_keys`. Times are rounded up, which is
-- exact for whole milliseconds. Read only; a change holds for all later records.
SELECT k.kid, k.jwk::text AS jwk, ceil(extract(epoch FROM k.not_before) * 1000)::bigint AS not_before_ms,
       ceil(extract(epoch FROM k.revoked_at) * 1000)::bigint AS revoked_ms, c.id, c.subscription,
       ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM signing_key k
  JOIN company c ON c.id = k.company_id
  JOIN plan p ON p.id = c.plan_id
 WHERE k.kid = ANY ($1::text[])
---- worker.store start_lane
-- Begins a lane that never ran, and notes the ids of its topic. Safe: changes nothing when the epoch is not ours, and
-- replaces neither a position nor a topic.
UPDATE lane
   SET applied = coalesce(applied, $3), emitted = coalesce(emitted, $3), ledger_from = coalesce(ledger_from, $3),
       cluster_id = coalesce(cluster_id, $4), topic_id = coalesce(topic_id, $5)
 WHERE id = $1 AND epoch = $2 AND holder = $6 AND (applied IS NULL OR topic_id IS NULL)
---- worker.store transaction_timeout
-- Limits the transactions of this session, where the server has such a limit (PostgreSQL 17). Touches no table.
SELECT set_config('transaction_timeout', $1, false) WHERE current_setting('server_version_num')::int >= 170000
---- worker.store try_lock_days
-- Whether no other process makes or drops partitions. A second one has nothing left to drop. Ends with the transaction.
SELECT pg_try_advisory_xact_lock(hashtextextended('passport-worker days', 0))
---- worker.store write_activity
-- Writes the counts ($4) of a worker of a group ($1, $2) in some minutes ($3) over those that it wrote before.
INSERT INTO activity (minute, group_id, member, counts)
SELECT said.minute, $1, $2, said.counts
  FROM unnest($3::timestamptz[], $4::jsonb[]) AS said (minute, counts)
    ON CONFLICT (minute, group_id, member) DO UPDATE SET counts = excluded.counts
---- worker.store write_company_days
-- Writes the counts of a worker of a group ($1, $2) by day ($3) and company ($4): answered ($5) and refused commands
-- ($6), and when one was last accepted ($7). Safe to repeat: a worker's counts of a day only grow.
INSERT INTO company_day AS kept (day, company_id, group_id, member, answered, refused, accepted_at)
SELECT said.day, said.company_id, $1, $2, said.answered, said.refused, said.accepted_at
  FROM unnest($3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[])
    AS said (day, company_id, answered, refused, accepted_at)
 ORDER BY 1, 2
    ON CONFLICT (day, company_id, group_id, member) DO UPDATE
   SET answered = greatest(kept.answered, excluded.answered), refused = greatest(kept.refused, excluded.refused),
       accepted_at = greatest(kept.accepted_at, excluded.accepted_at)
---- worker.store writes
-- Passports created by company and UTC day (days since the epoch). Read only, under the companies' locks.
SELECT w.company_number, w.day - date '1970-01-01' AS utc_day, w.writes
  FROM unnest($1::int[], $2::int[]) AS asked (company_number, utc_day)
  JOIN daily_writes w ON w.company_number = asked.company_number AND w.day = date '1970-01-01' + asked.utc_day
---- worker.tools.catalogue api_key_owners
-- The companies of API keys that exist already. Read only.
SELECT sha256, company_id FROM api_key WHERE sha256 = ANY ($1::bytea[])
---- worker.tools.catalogue create_usage
-- Makes the counter of each company, which batches lock. Safe: leaves existing ones alone, and waits for none.
INSERT INTO company_usage (company_number)
SELECT number FROM company WHERE id = ANY ($1::text[]) ORDER BY number
    ON CONFLICT (company_number) DO NOTHING
---- worker.tools.catalogue known_references
-- The plans, companies and templates that exist, of those that a catalogue refers to. Read only; none is ever deleted.
SELECT (SELECT array_agg(id) FROM plan WHERE id = ANY ($1::text[])) AS plans,
       (SELECT array_agg(id) FROM company WHERE id = ANY ($2::text[])) AS companies,
       (SELECT array_agg(id) FROM template WHERE id = ANY ($3::text[])) AS templates
---- worker.tools.catalogue lock_catalogue
-- Lets one catalogue load run at a time, so that its checks stay true until its commit. Workers do not take this lock.
-- Ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker catalogue', 0))
---- worker.tools.catalogue signing_key_owners
-- The companies of signing keys, by their ids. Read only, by primary key.
SELECT kid, company_id FROM signing_key WHERE kid = ANY ($1::text[])
---- worker.tools.catalogue stored_api_keys
-- API keys as they are stored: those of these hashes ($1; null: all), of one company ($2; null: all), in the order of
-- `stored_companies`. Read only; there is no index on the company, so this reads the table.
SELECT sha256, company_id, label, revoked_at
  FROM api_key
 WHERE ($1::bytea[] IS NULL OR sha256 = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY company_id, label, sha256
---- worker.tools.catalogue stored_companies
-- Companies as they are stored: the named ones ($1; null: all), or one of them ($2; null: all). Read only.
SELECT id, name, plan_id, subscription, prefill::text AS prefill, signatures_required_from, channels, closed_at
  FROM company
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = $2)
 ORDER BY id
---- worker.tools.catalogue stored_plans
-- Plans as they are stored: the named ones ($1; null: all), of one company ($2; null: all). Read only.
SELECT id, max_dpps, overage_price_cents, max_v1_writes_per_day
  FROM plan
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = (SELECT plan_id FROM company WHERE id = $2))
 ORDER BY id
---- worker.tools.catalogue stored_products
-- Products as they are stored: the named ones ($1; null: all), of one company ($2; null: all). Read only.
SELECT id, company_id, template_id, name, model, default_field_values::text AS default_field_values
  FROM product
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY id
---- worker.tools.catalogue stored_signing_keys
-- Signing keys as they are stored: those of these ids ($1; null: all), of one company ($2; null: all), in the order of
-- `stored_companies`. Read only; there is no index on the company, so this reads the table.
SELECT kid, company_id, jwk::text AS jwk, label, not_before, revoked_at
  FROM signing_key
 WHERE ($1::text[] IS NULL OR kid = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY company_id, label, kid
---- worker.tools.catalogue stored_templates
-- Templates as they are stored: the named ones ($1; null: all), of one company's products ($2; null: all). Read only.
SELECT id, category, version, fields::text AS fields
  FROM template
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id IN (SELECT template_id FROM product WHERE company_id = $2))
 ORDER BY id
---- worker.tools.catalogue template_fields
-- The fields of templates, as JSON texts. Read only.
SELECT id, fields::text AS fields FROM template WHERE id = ANY ($1::text[])
---- worker.tools.catalogue upsert_api_keys
-- Writes the API keys of a catalogue file; other keys stay. Safe: a key never changes its company, a key of another company
-- stays as it is, and a file without a revocation ($5) does not undo one.
INSERT INTO api_key (sha256, company_id, label, revoked_at)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[]) AS row (sha256) ORDER BY sha256
    ON CONFLICT (sha256) DO UPDATE
   SET label = excluded.label,
       revoked_at = CASE WHEN api_key.sha256 = ANY ($5::bytea[]) THEN api_key.revoked_at ELSE excluded.revoked_at END
 WHERE api_key.company_id = excluded.company_id
---- worker.tools.catalogue upsert_companies
-- Writes the companies of a catalogue file; others stay. Only a new company takes a number. Safe under the lock on
-- loads: counters are in another table. A file that does not mention signatures ($7), or the closing of the company
-- ($10), leaves that time as it is.
WITH row AS (
    SELECT id, name, plan_id, subscription, prefill, signatures_required_from, closed_at,
           CASE WHEN channels IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(channels::json)) END AS channels
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $8::text[],
                  $9::timestamptz[])
        AS given (id, name, plan_id, subscription, prefill, signatures_required_from, channels, closed_at)
), known AS (
    UPDATE company
       SET name = row.name, plan_id = row.plan_id, subscription = row.subscription, prefill = row.prefill::json,
           channels = row.channels,
           signatures_required_from = CASE WHEN company.id = ANY ($7::text[]) THEN company.signatures_required_from
                                           ELSE row.signatures_required_from END,
           closed_at = CASE WHEN company.id = ANY ($10::text[]) THEN company.closed_at ELSE row.closed_at END
      FROM row
     WHERE company.id = row.id
)
INSERT INTO company (id, name, plan_id, subscription, prefill, signatures_required_from, channels, closed_at)
SELECT id, name, plan_id, subscription, prefill::json, signatures_required_from, channels, closed_at
  FROM row
 WHERE NOT EXISTS (SELECT FROM company WHERE company.id = row.id)
 ORDER BY id
---- worker.tools.catalogue upsert_plans
-- Writes the plans of a catalogue file; others stay. Safe while workers run: they read whole committed rows. Sorted, as
-- all upserts are, so that it cannot deadlock with an operator who changes the same rows in this order.
INSERT INTO plan (id, max_dpps, overage_price_cents, max_v1_writes_per_day)
SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS row (id) ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET max_dpps = excluded.max_dpps, overage_price_cents = excluded.overage_price_cents,
       max_v1_writes_per_day = excluded.max_v1_writes_per_day
---- worker.tools.catalogue upsert_products
-- Writes the products of a catalogue file; others stay. Safe: passports hold the values that they were created with.
INSERT INTO product (id, company_id, template_id, name, model, default_field_values)
SELECT id, company_id, template_id, name, model, default_field_values::json
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS row (id, company_id, template_id, name, model, default_field_values)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET company_id = excluded.company_id, template_id = excluded.template_id, name = excluded.name,
       model = excluded.model, default_field_values = excluded.default_field_values
---- worker.tools.catalogue upsert_signing_keys
-- Writes the signing keys of a catalogue file; others stay. Safe: a key changes neither its company nor itself, and a
-- key of another company stays as it is. Label ($7), first moment ($8) and revocation ($9) stay where a file does not
-- mention them.
INSERT INTO signing_key (kid, company_id, jwk, label, not_before, revoked_at)
SELECT kid, company_id, jwk::json, label, not_before, revoked_at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    AS row (kid, company_id, jwk, label, not_before, revoked_at)
 ORDER BY kid
    ON CONFLICT (kid) DO UPDATE
   SET label = CASE WHEN signing_key.kid = ANY ($7::text[]) THEN signing_key.label ELSE excluded.label END,
       not_before = CASE WHEN signing_key.kid = ANY ($8::text[]) THEN signing_key.not_before ELSE excluded.not_before END,
       revoked_at = CASE WHEN signing_key.kid = ANY ($9::text[]) THEN signing_key.revoked_at ELSE excluded.revoked_at END
 WHERE signing_key.company_id = excluded.company_id
---- worker.tools.catalogue upsert_templates
-- Writes the templates of a catalogue file; others stay. Safe: passports hold the fields that they were created with.
INSERT INTO template (id, category, version, fields)
SELECT id, category, version, fields::json
  FROM unnest($1::text[], $2::text[], $3::int[], $4::text[]) AS row (id, category, version, fields)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET category = excluded.category, version = excluded.version, fields = excluded.fields
---- worker.tools.common add_api_key
-- Adds an API key. Safe: the hash is that of 32 random bytes, which no other key has.
INSERT INTO api_key (sha256, company_id, label)
VALUES ($1, $2, $3)
RETURNING sha256, company_id, label, revoked_at, false AS is_revoked
---- worker.tools.common all_companies
-- Ids and names of all companies. Read only; reads the table, which has a row a company.
SELECT id, name FROM company ORDER BY name, id
---- worker.tools.common begin_operation
-- Writes down what an operator is about to do. Safe: a row of its own.
INSERT INTO operation (id, verb, who, reason, arguments) VALUES ($1, $2, $3, $4, $5)
---- worker.tools.common closed_companies
-- The times from which on companies are closed, of those with these ids ($1). Read only, by index.
SELECT id, closed_at FROM company WHERE id = ANY ($1::text[]) AND closed_at IS NOT NULL
---- worker.tools.common companies_named
-- Companies with a name ($1), as it is written. Read only; reads the table, which has a row a company.
SELECT id, name FROM company WHERE name = $1 ORDER BY id
---- worker.tools.common companies_that_sign
-- How many companies have a signing key that is valid now, or will be. Read only.
SELECT count(DISTINCT company_id) FROM signing_key WHERE coalesce(revoked_at > now(), true)
---- worker.tools.common companies_without_signing_key
-- Open companies whose commands have to be signed by now, without a key that is valid now. Read only; reads both tables.
SELECT c.id, c.name
  FROM company c
 WHERE c.signatures_required_from <= now()
   AND coalesce(c.closed_at > now(), true)
   AND NOT EXISTS (SELECT FROM signing_key k
                    WHERE k.company_id = c.id
                      AND coalesce(k.not_before <= now(), true)
                      AND coalesce(k.revoked_at > now(), true))
 ORDER BY c.id
---- worker.tools.common company_names
-- Names of companies by their ids ($1). Read only, by index.
SELECT id, name FROM company WHERE id = ANY($1)
---- worker.tools.common covered_repeats
-- Ranges of a command topic whose results were repeated by an operator or after a set-back. Each allows one more copy.
-- Read only.
SELECT (covered ->> 0)::int AS partition, (covered ->> 1)::bigint AS start, (covered ->> 2)::bigint AS stop
  FROM operation, jsonb_array_elements(arguments -> 'repeats') AS covered
 WHERE arguments ->> 'topic' = $1
---- worker.tools.common create_schema_migration
-- The record of applied migrations. Safe: runs under the migration lock, and does nothing where the table exists.
-- Workers of an older version read it, too: it may gain columns, and lose none.
CREATE TABLE IF NOT EXISTS schema_migration (
    version       integer PRIMARY KEY,
    name          text NOT NULL,
    sha256        bytea NOT NULL,
    readable_from integer NOT NULL,  -- the oldest schema whose workers can run on the schema of this migration
    applied_by    text NOT NULL,  -- the version of the worker that applied it
    applied_at    timestamptz NOT NULL DEFAULT now()
)
---- worker.tools.common end_operation
-- Writes down how an operation ended, and how far it got. An operation may be one transaction, for which now() is one time.
UPDATE operation SET ended_at = clock_timestamp(), outcome = $2, progress = $3 WHERE id = $1
---- worker.tools.common find_api_keys
-- At most $3 API keys whose hashes lie between two, with their state. Read only, by index.
SELECT sha256, company_id, label, revoked_at, coalesce(revoked_at <= now(), false) AS is_revoked
  FROM api_key
 WHERE sha256 BETWEEN $1 AND $2
 ORDER BY sha256
 LIMIT $3
---- worker.tools.common invalid_index
-- An index that CREATE INDEX CONCURRENTLY began and did not finish, as a quoted name. Read only.
SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid
---- worker.tools.common lanes_of_group
-- Every lane of a group, also those of topics that no worker reads any more. Read only.
SELECT id, topic, partition, epoch, applied, emitted, ledger_from, cluster_id, topic_id, generation_id, member_id, producers
  FROM lane
 WHERE group_id = $1
 ORDER BY topic, partition
---- worker.tools.common list_api_keys
-- API keys of one company ($1; null: of all), with their state. Read only; there is no index on the company, so this
-- reads the table.
SELECT sha256, company_id, label, revoked_at, coalesce(revoked_at <= now(), false) AS is_revoked
  FROM api_key
 WHERE $1::text IS NULL OR company_id = $1
 ORDER BY company_id, label, sha256
---- worker.tools.common lock_patience
-- How long this transaction waits for a lock, such as '1s': workers that need the table wait behind it.
SELECT set_config('lock_timeout', $1, true)
---- worker.tools.common note_progress
-- Writes down how far an operation has got.
UPDATE operation SET progress = $2 WHERE id = $1
---- worker.tools.common open_operations
-- Operations that began more than $1 seconds ago and have not ended, oldest first. Read only; the table is small, with
-- a row for each command of an operator.
SELECT id, verb, who, begun_at
  FROM operation
 WHERE ended_at IS NULL AND begun_at < now() - $1::float8 * interval '1 second'
 ORDER BY begun_at
---- worker.tools.common operation
-- An operation as it was begun. Read only.
SELECT verb, arguments, progress, outcome FROM operation WHERE id = $1
---- worker.tools.common planned_revocation
-- An API key as revoke_api_key would leave it, with the same arguments. Read only.
SELECT sha256, company_id, label, planned.revoked_at, planned.revoked_at <= now() AS is_revoked
  FROM api_key,
       LATERAL (SELECT least(api_key.revoked_at, coalesce($2::timestamptz, date_trunc('milliseconds', now()))
                                                 + $3::interval) AS revoked_at) AS planned
 WHERE sha256 = $1
---- worker.tools.common record_migration
-- Records an applied migration, in the transaction of its effects: the database has both or neither.
INSERT INTO schema_migration (version, name, sha256, readable_from, applied_by) VALUES ($1, $2, $3, $4, $5)
---- worker.tools.common resume_operation
-- Marks an operation as going on, with the progress that it has and who goes on. Safe to repeat.
UPDATE operation SET ended_at = NULL, outcome = NULL, progress = $2 WHERE id = $1
---- worker.tools.common revoke_api_key
-- Revokes an API key from a time on ($2; null: now), later by $3, and returns the row. Safe: never gives a key more
-- time than it has. Now is a whole millisecond, as append times are.
UPDATE api_key
   SET revoked_at = least(revoked_at, coalesce($2::timestamptz, date_trunc('milliseconds', now())) + $3::interval)
 WHERE sha256 = $1
RETURNING sha256, company_id, label, revoked_at, revoked_at <= now() AS is_revoked
---- worker.tools.common try_lock_migrations
-- Lets one process migrate at a time. Ends with the transaction. Whoever comes second asks again, and does not wait: a
-- session that waits has a snapshot, and CREATE INDEX CONCURRENTLY would wait for its end.
SELECT pg_try_advisory_xact_lock(hashtextextended('passport-worker migrate', 0))
---- worker.tools.common try_lock_migrations_in_session
-- The lock of try_lock_migrations, for a migration outside of a transaction. Ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('passport-worker migrate', 0))
---- worker.tools.common unlock_migrations
-- Frees the lock of try_lock_migrations_in_session.
SELECT pg_advisory_unlock(hashtextextended('passport-worker migrate', 0))
---- worker.tools.company close_company
-- Closes a company ($1) from now on and revokes its keys, and returns when, and how many keys. Safe to repeat: neither an
-- earlier closing nor an earlier revocation moves. Locks the company before its keys, as `catalogue load` does. Now is a
-- whole millisecond, as append times are.
WITH closed AS (
    UPDATE company SET closed_at = least(closed_at, date_trunc('milliseconds', now())) WHERE id = $1 RETURNING closed_at
), api_keys AS (
    UPDATE api_key k SET revoked_at = closed.closed_at FROM closed
     WHERE k.company_id = $1 AND coalesce(k.revoked_at > closed.closed_at, true)
    RETURNING k.sha256
), signing_keys AS (
    UPDATE signing_key k SET revoked_at = closed.closed_at FROM closed
     WHERE k.company_id = $1 AND coalesce(k.revoked_at > closed.closed_at, true)
    RETURNING k.kid
)
SELECT closed_at, (SELECT count(*) FROM api_keys) AS api_keys, (SELECT count(*) FROM signing_keys) AS signing_keys
  FROM closed
---- worker.tools.company exported_api_keys
-- API keys of a company ($1), without their hashes. Read only; there is no index on the company, so this reads the table.
SELECT label, revoked_at FROM api_key WHERE company_id = $1 ORDER BY label, revoked_at
---- worker.tools.company exported_company
-- A company ($1) with the number of its passports. Read only, by primary key.
SELECT c.id, c.name, c.plan_id AS plan, c.subscription, c.prefill::text AS prefill, c.channels,
       c.signatures_required_from, c.closed_at, coalesce(u.slots_used, 0) AS passports, c.number
  FROM company c
  LEFT JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = $1
---- worker.tools.company exported_passports
-- Passports of a company ($1: its number) with their charges, in the order of GTIN and serial number: at most $4 of those
-- behind a GTIN ($2) and serial number ($3). A created event comes as own values and frame. Read only, by unique index.
SELECT encode(p.id, 'hex') AS id, p.gtin, p.serial, p.frame_id, p.gs1, p.rest,
       round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms, o.price_cents, o.charged_at
  FROM passport p
  LEFT JOIN overage_charge o ON o.company_number = p.company_number AND o.passport_id = p.id
 WHERE p.company_number = $1 AND (p.gtin, p.serial) > ($2, $3)
 ORDER BY p.gtin, p.serial
 LIMIT $4
---- worker.tools.company exported_products
-- Products of a company ($1). Read only; there is no index on the company, so this reads the table.
SELECT id, template_id, name, model, default_field_values::text AS default_field_values
  FROM product
 WHERE company_id = $1
 ORDER BY id
---- worker.tools.company exported_signing_keys
-- Public signing keys of a company ($1). Read only; there is no index on the company, so this reads the table.
SELECT jwk::text AS jwk, label, not_before, revoked_at FROM signing_key WHERE company_id = $1 ORDER BY label, kid
---- worker.tools.company planned_closing
-- What closing a company ($1) now would change: its keys that are valid now or later, and the passports that stay. Read
-- only; there is no index on the company of keys, so this reads their tables.
SELECT c.closed_at, coalesce(u.slots_used, 0) AS passports,
       (SELECT count(*) FROM api_key k
         WHERE k.company_id = c.id AND coalesce(k.revoked_at > least(c.closed_at, now()), true)) AS api_keys,
       (SELECT count(*) FROM signing_key k
         WHERE k.company_id = c.id AND coalesce(k.revoked_at > least(c.closed_at, now()), true)) AS signing_keys
  FROM company c
  LEFT JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = $1
---- worker.tools.company unit_of_passport
-- GTIN and serial number of a passport ($2) of a company ($1: its number). Read only, by primary key.
SELECT gtin, serial FROM passport WHERE id = decode($2, 'hex') AND company_number = $1
---- worker.tools.console activity_outcomes
-- The number of answers of each code that a group ($1) gave in each of the last $2 minutes, the current one among them.
-- Read only, by primary key.
SELECT a.minute, said.key AS code, sum(said.value::bigint)::bigint AS count
  FROM activity a
 CROSS JOIN LATERAL jsonb_each_text(a.counts -> 'outcomes') AS said
 WHERE a.group_id = $1 AND a.minute > date_trunc('minute', now()) - $2::int * interval '1 minute'
 GROUP BY 1, 2
---- worker.tools.console activity_refusals
-- The companies that a group ($1) refused most in the last $2 minutes, by code, at most $3. A null company stands for
-- refusals of unknown companies, and for those beyond the limit of a minute. Read only, by primary key.
SELECT found.company_id, c.name, found.code, found.count
  FROM (
      SELECT said -> 0 #>> '{}' AS company_id, said ->> 1 AS code, sum((said ->> 2)::bigint)::bigint AS count
        FROM activity a
       CROSS JOIN LATERAL jsonb_array_elements(a.counts -> 'refusals') AS said
       WHERE a.group_id = $1 AND a.minute > date_trunc('minute', now()) - $2::int * interval '1 minute'
       GROUP BY 1, 2
       ORDER BY 3 DESC, 1, 2
       LIMIT $3
  ) AS found
  LEFT JOIN company c ON c.id = found.company_id
 ORDER BY found.count DESC, found.company_id, found.code
---- worker.tools.console this_minute
-- The beginning of the current minute, by the database's clock.
SELECT date_trunc('minute', now()) AS this_minute
---- worker.tools.dead_letters begin_redrive
-- Notes that a command is about to be published again. Returns no row where another process has noted the same. Safe:
-- one row, committed before anything is sent.
INSERT INTO redrive (topic, partition, "offset", times, operation_id, log_end)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
RETURNING times
---- worker.tools.dead_letters find_dead_letter
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
---- worker.tools.dead_letters list_dead_letters
-- Dead letters of a group's lanes ($1) on some topics ($2), newest first, at most $9, with the state of their redriving. $3
-- are partitions (empty: all), $4 and $5 offsets, $6 and $7 append times, $8 a code (null: any). Read only, backwards
-- by the lanes' primary key; a rare code is searched for among all dead letters of a lane. Values are not read.
SELECT lane.topic, lane.partition, found."offset", found.reason, found.appended_at, found.key, found.value_bytes,
       coalesce(found.company_id, answered.company_id) AS company_id, redriven.times, redriven.new_offset, redriven.operation_id
  FROM lane
 CROSS JOIN LATERAL (
           SELECT d."offset", d.reason, l.appended_at, l.company_id, substring(d.key FOR 256) AS key,
                  octet_length(d.value) AS value_bytes
             FROM dead_letter d
             LEFT JOIN ledger l
               ON l.lane_id = d.lane_id AND l."offset" = d."offset" AND l.recorded_on = d.recorded_on
            WHERE d.lane_id = lane.id
              AND ($4::bigint IS NULL OR d."offset" >= $4)
              AND ($5::bigint IS NULL OR d."offset" < $5)
              AND ($6::timestamptz IS NULL OR l.appended_at >= $6)
              AND ($7::timestamptz IS NULL OR l.appended_at < $7)
              AND ($8::text IS NULL OR d.reason = $8)
            ORDER BY d."offset" DESC
            LIMIT $9
       ) AS found
  LEFT JOIN LATERAL (
           SELECT times, new_offset, operation_id
             FROM redrive r
            WHERE r.topic = lane.topic AND r.partition = lane.partition AND r."offset" = found."offset"
            ORDER BY times DESC
            LIMIT 1
       ) AS redriven ON true
  LEFT JOIN ledger answered ON answered.lane_id = lane.id AND answered."offset" = redriven.new_offset
 WHERE lane.group_id = $1 AND lane.topic = ANY ($2::text[]) AND (cardinality($3::int[]) = 0 OR lane.partition = ANY ($3))
 ORDER BY found.appended_at DESC NULLS LAST, lane.topic, lane.partition, found."offset" DESC
 LIMIT $9
---- worker.tools.dead_letters note_redrive
-- Notes where a command was published again, and by which operation. Safe to repeat: the place never changes.
UPDATE redrive
   SET new_offset = $5, operation_id = $6
 WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND times = $4
---- worker.tools.dead_letters redrives
-- The times that a command was published again, oldest first, with their operations. Read only, by primary key.
SELECT r.times, r.log_end, r.new_offset, r.operation_id, o.who, o.begun_at,
       o.outcome IS DISTINCT FROM 'done' AS is_unfinished, o.arguments ->> 'group' AS group_id
  FROM redrive r
  JOIN operation o ON o.id = r.operation_id
 WHERE r.topic = $1 AND r.partition = $2 AND r."offset" = $3
 ORDER BY r.times
---- worker.tools.doctor lock_holders
-- Sessions that have kept others of this database waiting for a lock for longer than $1 seconds, and do not wait
-- themselves. The server shows state and time of other roles' sessions only to members of pg_read_all_stats. Read only.
SELECT holder.pid, holder.usename AS role, holder.application_name AS application, host(holder.client_addr) AS address,
       holder.state, holder.xact_start AS since, count(DISTINCT waiting.pid)::int AS kept_waiting
  FROM pg_locks AS waiting
  JOIN pg_stat_activity AS waiter ON waiter.pid = waiting.pid AND waiter.datname = current_database()
 CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
  LEFT JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
 WHERE waiting.waitstart < clock_timestamp() - make_interval(secs => $1)
   AND NOT EXISTS (SELECT FROM pg_locks AS own WHERE own.pid = holder.pid AND NOT own.granted)
 GROUP BY holder.pid, holder.usename, holder.application_name, holder.client_addr, holder.state, holder.xact_start
 ORDER BY kept_waiting DESC, holder.pid
---- worker.tools.doctor server_state
-- The state of the server: its version, whether it keeps acknowledged commits, and how many connections it has left for
-- the role, without this one, by all limits. Read only; a reader sees as much as a superuser.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int / 10000 AS major,
       pg_is_in_recovery() AS in_recovery,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') <> '' AS has_standbys,
       least(
           current_setting('max_connections')::int - used.by_all
               - CASE WHEN role.rolsuper THEN 0
                      ELSE current_setting('superuser_reserved_connections')::int
                           + coalesce(current_setting('reserved_connections', true)::int, 0)
                 END,
           CASE WHEN role.rolconnlimit < 0 OR role.rolsuper THEN NULL ELSE role.rolconnlimit - used.by_role END,
           CASE WHEN base.datconnlimit < 0 OR role.rolsuper THEN NULL ELSE base.datconnlimit - used.by_database END
       )::int AS free_connections
  FROM pg_roles AS role,
       pg_database AS base,
       LATERAL (SELECT count(*) AS by_all,
                       count(*) FILTER (WHERE usesysid = role.oid) AS by_role,
                       count(*) FILTER (WHERE datid = base.oid) AS by_database
                  FROM pg_stat_activity
                 WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND pid <> pg_backend_pid()) AS used
 WHERE role.rolname = session_user AND base.datname = current_database()
---- worker.tools.explain answers_under_key
-- Offsets of a lane from $2 to below $3 at which a company ($4) was answered under a key ($5), the last first, at most
-- $6. Read only; there is no index on keys, so this reads all of these rows.
SELECT "offset", round(extract(epoch FROM appended_at) * 1000)::bigint AS appended_ms
  FROM ledger
 WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3 AND company_id = $4 AND key = $5
 ORDER BY "offset" DESC
 LIMIT $6
---- worker.tools.explain api_key_owner
-- The company of an API key, by its hash. Read only, by primary key; readers may not see hashes.
SELECT company_id, label FROM api_key WHERE sha256 = $1
---- worker.tools.explain charge
-- The charge for a passport. Read only, by primary keys.
SELECT o.price_cents, o.charged_at
  FROM passport p
  JOIN overage_charge o ON o.company_number = p.company_number AND o.passport_id = p.id
 WHERE p.id = decode($1, 'hex')
---- worker.tools.explain key_bindings
-- The bindings of an idempotency key, the latest first, as far as the retention keeps its days. Read only, by primary
-- key.
SELECT encode(passport_id, 'hex'), round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM idempotency_key
 WHERE id = $1
 ORDER BY created_at DESC
---- worker.tools.explain ledger_rows_behind
-- For each lane ($1) the first row of the ledger from an offset ($2) on, and below another ($3). Read only, by primary
-- key: reads one row of each day.
SELECT asked.lane_id, found."offset", found.appended_ms
  FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS asked (lane_id, start, stop),
       LATERAL (SELECT l."offset", round(extract(epoch FROM l.appended_at) * 1000)::bigint AS appended_ms
                  FROM ledger l
                 WHERE l.lane_id = asked.lane_id AND l."offset" >= asked.start AND l."offset" < asked.stop
                 ORDER BY l."offset"
                 LIMIT 1) AS found
---- worker.tools.explain passport_by_id
-- The creation time of a passport. Read only, by primary key.
SELECT encode(id, 'hex'), round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM passport
 WHERE id = decode($1, 'hex')
---- worker.tools.explain passport_by_serial
-- The passport with a GTIN and a serial number, and its creation time. Read only, by primary keys and
-- passport_gtin_serial_key.
SELECT encode(p.id, 'hex'), round(extract(epoch FROM p.created_at) * 1000)::bigint AS created_ms
  FROM gtin_registration g
  JOIN company c ON c.id = g.company_id
  JOIN passport p ON p.company_number = c.number AND p.gtin = g.gtin AND p.serial = $2
 WHERE g.gtin = $1
---- worker.tools.explain signing_key_owner
-- The company of a signing key, by its id. Read only, by primary key.
SELECT company_id, label FROM signing_key WHERE kid = $1
---- worker.tools.lanes ledger_rows_in
-- The number of ledger rows of a lane from offset $2 to below $3, and the first of them. Read only.
SELECT count(*) AS rows, min("offset") AS first FROM ledger WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3
---- worker.tools.lanes make_lane
-- Makes a lane that the database lost or never had. Safe: does nothing where the lane exists.
INSERT INTO lane (group_id, topic, partition, epoch) VALUES ($1, $2, $3, 1)
ON CONFLICT ON CONSTRAINT lane_group_topic_partition_key DO NOTHING
---- worker.tools.lanes move_applied
-- Lets a lane go on behind commands that have expired. Safe: changes nothing when the epoch is not ours, or the lane
-- has moved.
UPDATE lane
   SET applied = $3
 WHERE id = $1 AND epoch = $2 AND holder = $5 AND applied = $4
RETURNING id
---- worker.tools.lanes plan_refusals
-- The reasons why planned rows cannot be restored, by code and lane, with the first places of each. Read only.
WITH refused AS (
    SELECT 'passport-exists' AS code, r.lane_number, r."offset", r.id AS detail
      FROM planned_passport r JOIN passport p ON p.id = decode(r.id, 'hex')
     UNION ALL
    SELECT 'serial-taken', r.lane_number, r."offset", encode(p.id, 'hex')
      FROM planned_passport r
      JOIN company c ON c.id = r.company_id
      JOIN passport p ON p.company_number = c.number AND p.gtin = r.gtin AND p.serial = r.serial
                     AND p.id <> decode(r.id, 'hex')
     UNION ALL
    SELECT 'serial-taken', lane_number, "offset", id
      FROM (SELECT *, count(*) OVER (PARTITION BY gtin, serial) AS times FROM planned_passport) AS counted
     WHERE times > 1
     UNION ALL
    SELECT 'gtin-taken', r.lane_number, r."offset", r.gtin
      FROM planned_passport r JOIN gtin_registration g ON g.gtin = r.gtin AND g.company_id <> r.company_id
     UNION ALL
    SELECT 'gtin-taken', r.lane_number, r."offset", r.gtin
      FROM planned_passport r
      JOIN (SELECT gtin FROM planned_passport GROUP BY gtin HAVING count(DISTINCT company_id) > 1) AS shared USING (gtin)
     UNION ALL
    SELECT 'company-unknown', r.lane_number, r."offset", r.company_id
      FROM planned_company r
     WHERE NOT EXISTS (SELECT FROM company c JOIN company_usage u ON u.company_number = c.number WHERE c.id = r.company_id)
     UNION ALL
    SELECT 'original-missing', r.lane_number, r."offset", r.id
      FROM planned_replay r
     WHERE NOT EXISTS (SELECT FROM planned_passport o WHERE o.id = r.id AND o.digest = r.digest)
       AND NOT EXISTS (SELECT FROM passport p WHERE p.id = decode(r.id, 'hex') AND sha256(p.created_body) = r.digest)
)
SELECT code, lane_number, "offset", detail, total
  FROM (SELECT *, count(*) OVER (PARTITION BY code, lane_number) AS total,
               row_number() OVER (PARTITION BY code, lane_number ORDER BY "offset") AS place
          FROM refused) AS counted
 WHERE place <= $1
 ORDER BY lane_number, code, "offset"
---- worker.tools.lanes plan_tables
-- The rows that a recovery plans to restore. Only this session sees these tables, and they end with it. Lanes have the
-- numbers of the plan, since the topic of each channel has a partition 0.
CREATE TEMP TABLE planned_passport (
    lane_number integer, "offset" bigint, id text, company_id text, gtin text, serial text, digest bytea
);
CREATE TEMP TABLE planned_replay (lane_number integer, "offset" bigint, id text, digest bytea);
CREATE TEMP TABLE planned_company (lane_number integer, "offset" bigint, company_id text)
---- worker.tools.lanes raise_epochs
-- Takes every lane of a group on a topic away from its worker. The generation stays, so that members of the group can
-- have it again. Safe: a worker with a lower epoch notices when it locks its lanes.
UPDATE lane
   SET epoch = epoch + 1
 WHERE id IN (SELECT id FROM lane WHERE group_id = $1 AND topic = $2 ORDER BY id FOR UPDATE)
RETURNING partition, id, epoch, producers, holder
---- worker.tools.lanes slots_above_plan
-- Companies that have more passports than their plan has slots, and were not charged for all above. Read only.
SELECT c.id AS company_id, u.slots_used, p.max_dpps
  FROM company c JOIN company_usage u ON u.company_number = c.number JOIN plan p ON p.id = c.plan_id
 WHERE c.id = ANY ($1::text[]) AND u.slots_used > p.max_dpps
   AND u.slots_used - p.max_dpps > (SELECT count(*) FROM overage_charge o WHERE o.company_number = c.number)
 ORDER BY c.id
---- worker.tools.migrate grantee
-- A role's name and the tables' schema as quoted identifiers; no row where the role does not exist. Without that check
-- the name "public" would mean everybody, even in quotes. Read only.
SELECT quote_ident(rolname) AS role, (SELECT relnamespace::regnamespace::text
                                        FROM pg_class
                                       WHERE oid = 'schema_migration'::regclass) AS schema
  FROM pg_roles
 WHERE rolname = $1
---- worker.tools.migrate rows_of_table
-- The rows of a table with its partitions, as Postgres estimates them; 0 where the table is not there yet. Read only.
SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint
  FROM pg_class
 WHERE relkind = 'r'
   AND (oid = to_regclass($1) OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)))
---- worker.tools.quota quotas
-- What one company ($1; null: all) has used of its plan on a UTC day ($3) and in its month, nearest to a limit first.
-- Only companies that have used at least a share ($2; null: any) of their slots or of the day's writes; at most $4
-- (null: all). $5: only companies with refused commands on the day, most refused first. Read only; uses indexes for the
-- large tables, the day's writes and the month's charges.
SELECT used.id, used.name, used.plan_id, used.slots_used, used.max_dpps, used.slots_share, used.writes,
       used.max_v1_writes_per_day, used.writes_share, charged.charges, charged.cents,
       used.answered, used.refused, used.closed_at
  FROM (
      SELECT c.id, c.number, c.name, c.plan_id, c.closed_at, coalesce(u.slots_used, 0) AS slots_used, p.max_dpps,
             CASE WHEN p.max_dpps = 0 THEN 1
                  ELSE coalesce(u.slots_used, 0)::float8 / p.max_dpps END AS slots_share,
             coalesce(w.writes, 0) AS writes, p.max_v1_writes_per_day,
             CASE WHEN p.max_v1_writes_per_day = 0 THEN 1
                  ELSE coalesce(w.writes, 0)::float8 / p.max_v1_writes_per_day END AS writes_share,
             coalesce(d.answered, 0) AS answered, coalesce(d.refused, 0) AS refused
        FROM company c
        JOIN plan p ON p.id = c.plan_id
        LEFT JOIN company_usage u ON u.company_number = c.number
        LEFT JOIN daily_writes w ON w.company_number = c.number AND w.day = $3::date
        LEFT JOIN (SELECT company_id, sum(answered)::bigint AS answered, sum(refused)::bigint AS refused
                     FROM company_day
                    WHERE day = $3::date AND ($1::text IS NULL OR company_id = $1)
                    GROUP BY company_id) AS d ON d.company_id = c.id
       WHERE $1::text IS NULL OR c.id = $1
  ) AS used
  LEFT JOIN LATERAL (
      SELECT count(*) AS charges, coalesce(sum(o.price_cents), 0)::bigint AS cents
        FROM overage_charge o
       WHERE o.company_number = used.number
         AND o.charged_at >= date_trunc('month', $3::date::timestamp) AT TIME ZONE 'UTC'
         AND o.charged_at < (date_trunc('month', $3::date::timestamp) + interval '1 month') AT TIME ZONE 'UTC'
  ) AS charged ON true
 WHERE ($2::float8 IS NULL OR greatest(used.slots_share, used.writes_share) >= $2)
   AND (used.refused > 0 OR NOT $5)
 ORDER BY CASE WHEN $5 THEN used.refused END DESC, greatest(used.slots_share, used.writes_share) DESC NULLS LAST, used.id
 LIMIT $4::int
---- worker.tools.quota today
-- The UTC day, by the database's clock. Touches no table.
SELECT (now() AT TIME ZONE 'UTC')::date
---- worker.tools.replay first_since
-- The first offset from $2 to below $3 of a lane whose command was appended at $4 or later. Read only. A row is written
-- after its command was appended, so days before that need not be read; one day more, for clocks that differ.
SELECT min("offset")
  FROM ledger
 WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3
   AND appended_at >= $4 AND recorded_on >= ($4::timestamptz AT TIME ZONE 'UTC')::date - 1
---- readers plan
SELECT t.id, t.max_dpps, t.overage_price_cents, t.max_v1_writes_per_day FROM plan t
---- readers company
SELECT t.id, t.name, t.plan_id, t.subscription, t.number, t.channels FROM company t
---- readers product
SELECT t.id, t.company_id, t.template_id, t.name, t.model FROM product t
---- readers passport
SELECT t.id, t.company_number, t.gtin, t.serial, t.created_at, t.created_body FROM passport t
---- readers company_usage
SELECT t.company_number, t.slots_used FROM company_usage t
---- readers overage_charge
SELECT t.passport_id, t.company_number, t.price_cents, t.charged_at FROM overage_charge t
---- readers company_day
SELECT t.day, t.company_id, t.answered, t.refused FROM company_day t
---- readers operation
SELECT t.id, t.verb, t.begun_at, t.ended_at, t.outcome, t.who, t.reason FROM operation t
