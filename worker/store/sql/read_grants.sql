-- The rights that a role needs to read everything and change nothing, one per line with its purpose.
-- `migrate --grant-read-to` runs this file. Safe to repeat: it adds missing rights and takes none away.
GRANT USAGE ON SCHEMA {schema} TO {role}; -- to see the tables at all
GRANT SELECT ON TABLE schema_migration TO {role}; -- is the database at this version?

-- Reference data. Not the hashes of API keys: with a hash, an attacker only has to find the key.
GRANT SELECT ON TABLE plan TO {role}; -- limits and prices
GRANT SELECT ON TABLE company TO {role}; -- plan, subscription and prefill
GRANT SELECT (company_id, label, revoked_at) ON TABLE api_key TO {role}; -- the company of a key, and its revocation
GRANT SELECT ON TABLE signing_key TO {role}; -- public keys of companies, and their validity
GRANT SELECT ON TABLE oauth_key_set TO {role}; -- public keys of access tokens
GRANT SELECT ON TABLE catalogue_version TO {role}; -- whether reference data changed
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
