-- The rights that a role needs for `run`, one per line with its purpose. `migrate --grant-to` runs this file, and `run`
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
GRANT SELECT ON TABLE catalogue_version TO {role}; -- have keys, companies and products changed?

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
