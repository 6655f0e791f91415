-- What a role needs to look at everything and change nothing, and no more: one right a line, and what it tells.
-- `migrate --grant-read-to` runs this. Safe to repeat: it gives what is missing and takes nothing away.
GRANT USAGE ON SCHEMA {schema} TO {role}; -- to see the tables at all
GRANT SELECT ON TABLE schema_migration TO {role}; -- is the database at this version?

-- Reference data. Not the hashes of API keys: who has one need only find the key.
GRANT SELECT ON TABLE plan TO {role}; -- limits and prices
GRANT SELECT ON TABLE company TO {role}; -- plan, subscription and prefill
GRANT SELECT (company_id, label, revoked_at) ON TABLE api_key TO {role}; -- whose key, and since when it is none
GRANT SELECT ON TABLE signing_key TO {role}; -- public keys of who signs, whose, and from when until when
GRANT SELECT ON TABLE oauth_key_set TO {role}; -- public keys of access tokens, and since when they are kept
GRANT SELECT ON TABLE product TO {role}; -- whose product, and its values
GRANT SELECT ON TABLE template TO {role}; -- the fields of a passport

-- Counters, keys, registrations and passports.
GRANT SELECT ON TABLE company_usage TO {role}; -- slots that are taken
GRANT SELECT ON TABLE daily_writes TO {role}; -- how much of a day's budget is spent
GRANT SELECT ON TABLE gtin_registration TO {role}; -- whose GTIN
GRANT SELECT ON TABLE idempotency_key TO {role}; -- to what a key is bound
GRANT SELECT ON TABLE passport TO {role}; -- what was created
GRANT SELECT ON TABLE passport_frame TO {role}; -- what passports share of their events
GRANT SELECT ON TABLE overage_charge TO {role}; -- what was charged

-- Lanes and the ledger; the days of both are read through their parents.
GRANT SELECT ON TABLE lane TO {role}; -- the positions
GRANT SELECT ON TABLE ledger TO {role}; -- what was answered
GRANT SELECT ON TABLE dead_letter TO {role}; -- what could not be processed

-- What workers and operators did.
GRANT SELECT ON TABLE activity TO {role}; -- minute by minute
GRANT SELECT ON TABLE operation TO {role}; -- who, when and why
GRANT SELECT ON TABLE redrive TO {role}; -- what was published again
