-- Companies as the file has them; others stay. Safe: their counters are in another table, which this does not touch.
INSERT INTO company (id, name, plan_id, subscription, prefill)
SELECT id, name, plan_id, subscription, prefill::json
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS row (id, name, plan_id, subscription, prefill)
 ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET name = excluded.name, plan_id = excluded.plan_id, subscription = excluded.subscription,
       prefill = excluded.prefill
