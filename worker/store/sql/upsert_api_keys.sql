-- API keys as the file has them; others stay. Safe: a key never changes its company, not even here.
INSERT INTO api_key (sha256, company_id, label, revoked_at)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[]) AS row (sha256) ORDER BY sha256
    ON CONFLICT (sha256) DO UPDATE
   SET label = excluded.label, revoked_at = excluded.revoked_at
