-- API keys as the file has them; others stay. Safe: a key never changes its company, not even here, and a file that does
-- not speak of the revocation ($5) does not undo it.
INSERT INTO api_key (sha256, company_id, label, revoked_at)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[]) AS row (sha256) ORDER BY sha256
    ON CONFLICT (sha256) DO UPDATE
   SET label = excluded.label,
       revoked_at = CASE WHEN api_key.sha256 = ANY ($5::bytea[]) THEN api_key.revoked_at ELSE excluded.revoked_at END
