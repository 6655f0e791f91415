-- Companies as the file has them; others stay. Safe: their counters are in another table, which this does not touch, and a
-- file that does not speak of signatures ($7) leaves it at what was said of them before.
INSERT INTO company (id, name, plan_id, subscription, prefill, signatures_required_from)
SELECT id, name, plan_id, subscription, prefill::json, signatures_required_from
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
    AS row (id, name, plan_id, subscription, prefill, signatures_required_from)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET name = excluded.name, plan_id = excluded.plan_id, subscription = excluded.subscription,
       prefill = excluded.prefill,
       signatures_required_from = CASE WHEN company.id = ANY ($7::text[]) THEN company.signatures_required_from
                                       ELSE excluded.signatures_required_from END
