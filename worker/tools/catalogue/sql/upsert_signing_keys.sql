-- Writes the signing keys of a catalogue file; others stay. Safe: a key changes neither its company nor itself, and a
-- key of another company stays as it is. Label ($7), start ($8) and revocation ($9) stay if a file does not
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
