-- Companies as the file has them; others stay. Safe under the lock on loads: their counters are in another table, which this
-- does not touch, and a file that does not speak of signatures ($7) leaves it at what was said of them before. Only a company
-- that is new takes a number.
WITH row AS (
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS row (id, name, plan_id, subscription, prefill, signatures_required_from)
), known AS (
    UPDATE company
       SET name = row.name, plan_id = row.plan_id, subscription = row.subscription, prefill = row.prefill::json,
           signatures_required_from = CASE WHEN company.id = ANY ($7::text[]) THEN company.signatures_required_from
                                           ELSE row.signatures_required_from END
      FROM row
     WHERE company.id = row.id
)
INSERT INTO company (id, name, plan_id, subscription, prefill, signatures_required_from)
SELECT id, name, plan_id, subscription, prefill::json, signatures_required_from
  FROM row
 WHERE NOT EXISTS (SELECT FROM company WHERE company.id = row.id)
 ORDER BY id
