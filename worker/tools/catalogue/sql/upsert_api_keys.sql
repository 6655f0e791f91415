-- Writes the API keys of a catalogue file; other keys stay. Safe: a key never changes its company, a key of another company
-- stays as it is, and a file without a revocation ($5) does not undo one.
INSERT INTO api_key (sha256, company_id, label, revoked_at)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[]) AS row (sha256) ORDER BY sha256
    ON CONFLICT (sha256) DO UPDATE
   SET label = excluded.label,
       revoked_at = CASE WHEN api_key.sha256 = ANY ($5::bytea[]) THEN api_key.revoked_at ELSE excluded.revoked_at END
 WHERE api_key.company_id = excluded.company_id
