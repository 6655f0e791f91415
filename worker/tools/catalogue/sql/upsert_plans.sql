-- Writes the plans of a catalogue file; others stay. Safe while workers run: they read whole committed rows. Sorted, as
-- all upserts are, so that it cannot deadlock with an operator who changes the same rows in this order.
INSERT INTO plan (id, max_dpps, overage_price_cents, max_v1_writes_per_day)
SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS row (id) ORDER BY id
    ON CONFLICT (id) DO UPDATE
   SET max_dpps = excluded.max_dpps, overage_price_cents = excluded.overage_price_cents,
       max_v1_writes_per_day = excluded.max_v1_writes_per_day
