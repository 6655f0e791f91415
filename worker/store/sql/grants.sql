-- What a role needs for `run`, and no more: one right a line, and what it is used for. `migrate --grant-to` runs this, and
-- `run` asks for each line before it starts. Safe to repeat: it gives what is missing and takes nothing away.
GRANT USAGE ON SCHEMA {schema} TO {role}; -- to see the tables at all
GRANT SELECT ON TABLE schema_migration TO {role}; -- is the database at this version?

-- Reference data: only ever read.
GRANT SELECT ON TABLE plan TO {role}; -- limits and prices
GRANT SELECT ON TABLE company TO {role}; -- plan, subscription and prefill
GRANT SELECT ON TABLE api_key TO {role}; -- who asks
GRANT SELECT ON TABLE signing_key TO {role}; -- who signed
GRANT SELECT ON TABLE product TO {role}; -- whose product, and its values
GRANT SELECT ON TABLE template TO {role}; -- the fields of a passport

-- Counters, keys and registrations.
GRANT SELECT ON TABLE company_usage TO {role}; -- slots that are taken
GRANT UPDATE (slots_used) ON TABLE company_usage TO {role}; -- take slots, and lock the company for a batch
GRANT SELECT ON TABLE daily_writes TO {role}; -- is the day's budget spent?
GRANT INSERT ON TABLE daily_writes TO {role}; -- a company's first write of a day
GRANT UPDATE (writes, recorded_on) ON TABLE daily_writes TO {role}; -- its later ones
GRANT DELETE ON TABLE daily_writes TO {role}; -- housekeeping: counts past the retention
GRANT SELECT ON TABLE gtin_registration TO {role}; -- whose GTIN?
GRANT INSERT ON TABLE gtin_registration TO {role}; -- claim one for a batch
GRANT UPDATE (company_id) ON TABLE gtin_registration TO {role}; -- settle a claim of the same batch
GRANT DELETE ON TABLE gtin_registration TO {role}; -- take back a claim of the same batch
GRANT SELECT ON TABLE idempotency_key TO {role}; -- is the key bound?
GRANT INSERT ON TABLE idempotency_key TO {role}; -- bind it
GRANT UPDATE (fingerprint, passport_id, created_at) ON TABLE idempotency_key TO {role}; -- bind it again, 24 hours later

-- Passports: made, never changed.
GRANT SELECT ON TABLE passport TO {role}; -- serials that are taken, and bodies to replay
GRANT INSERT ON TABLE passport TO {role}; -- create one
GRANT SELECT ON TABLE passport_frame TO {role}; -- what passports share of their bodies
GRANT INSERT ON TABLE passport_frame TO {role}; -- write it when it is first used
GRANT INSERT ON TABLE overage_charge TO {role}; -- charge for one
GRANT SELECT ON TABLE overage_charge TO {role}; -- quota, recover: what was charged; the worker reads none

-- Lanes and the ledger. Keys, ledger and dead letters go with their day, by function.
GRANT SELECT ON TABLE lane TO {role}; -- the positions
GRANT INSERT ON TABLE lane TO {role}; -- a partition's first lane
GRANT UPDATE (epoch, generation_id, member_id, producers, applied, emitted, ledger_from, cluster_id, topic_id) ON TABLE lane TO {role}; -- fence, move, lock
GRANT SELECT ON TABLE ledger TO {role}; -- emit answers again
GRANT INSERT ON TABLE ledger TO {role}; -- a row a record
GRANT SELECT ON TABLE dead_letter TO {role}; -- emit them again
GRANT INSERT ON TABLE dead_letter TO {role}; -- copies of records that could not be processed
GRANT EXECUTE ON FUNCTION make_day(text, date) TO {role}; -- partitions of the coming days
GRANT EXECUTE ON FUNCTION drop_day(date) TO {role}; -- housekeeping: a day past the retention

-- Access tokens.
GRANT SELECT ON TABLE oauth_key_set TO {role}; -- start while the authorization server is away
GRANT INSERT ON TABLE oauth_key_set TO {role}; -- keep the public keys that were read
GRANT UPDATE (keys, read_at) ON TABLE oauth_key_set TO {role}; -- keep those that came later

-- What people see in the console.
GRANT SELECT ON TABLE activity TO {role}; -- find the minutes that are written
GRANT INSERT ON TABLE activity TO {role}; -- write a minute
GRANT UPDATE (counts) ON TABLE activity TO {role}; -- write it again
GRANT DELETE ON TABLE activity TO {role}; -- housekeeping: minutes that are old

-- What operators do with this role: recover, redrive.
GRANT SELECT ON TABLE operation TO {role}; -- is it over?
GRANT INSERT ON TABLE operation TO {role}; -- begin one, and note that offsets were set back
GRANT UPDATE ON TABLE operation TO {role}; -- end one
GRANT SELECT ON TABLE redrive TO {role}; -- was it published again?
GRANT INSERT ON TABLE redrive TO {role}; -- before it is
GRANT UPDATE (new_offset, operation_id) ON TABLE redrive TO {role}; -- where it was
