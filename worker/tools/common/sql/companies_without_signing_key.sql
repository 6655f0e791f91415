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
