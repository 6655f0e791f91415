-- Plans as the file has them; others stay. Safe while workers run: they read whole committed rows. Sorted, as in all
-- upserts, so that nobody who changes the same rows by hand in this order can deadlock with us.
INSERT INTO plan (id, max_dpps, overage_price_cents, max_v1_writes_per_day)
SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS row (id) ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET max_dpps = excluded.max_dpps, overage_price_cents = excluded.overage_price_cents,
       max_v1_writes_per_day = excluded.max_v1_writes_per_day
